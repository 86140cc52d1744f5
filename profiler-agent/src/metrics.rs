//! Every metric of the agent, with its help text.
