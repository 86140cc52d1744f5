//! Every metric of the collector, with its help text.
