"""Draw the plots of each phase. A module for each, so that a phase depends only on the code of its own plots."""
