# Reference values of the empirical Bayes moderation, from limma (Smyth 2004). Prints them; a test holds them.
# Run once: Rscript tests/reference/moderation.R
suppressMessages(library(limma))
dispersion <- c(1.4, 2.2, 0.9, 3.1, 1.8, 2.7, 1.2, 5.5, 2.0, 1.6, 0.7, 4.2)
degrees <- 4
squeezed <- squeezeVar(dispersion, degrees)
cat("prior degrees", format(squeezed$df.prior, digits = 15), "scale", format(squeezed$var.prior, digits = 15), "\n")
cat("moderated", format(squeezed$var.post, digits = 15), "\n")
scattered <- c(1.2, 9.5, 1.1, 14.0, 1.3, 2.2, 30.0, 1.05, 6.0, 1.4, 18.0, 1.15)
squeezed <- squeezeVar(scattered, degrees)
cat("prior degrees", format(squeezed$df.prior, digits = 15), "scale", format(squeezed$var.prior, digits = 15), "\n")
cat("moderated", format(squeezed$var.post, digits = 15), "\n")
