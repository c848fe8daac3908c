"""From a refined model to intensities: profile model, boxes, background, summation, profile fitting, corrections."""
