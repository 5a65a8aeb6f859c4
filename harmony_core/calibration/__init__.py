"""What this machine does in a second, measured, and the constants of the roofline that follow from it."""
