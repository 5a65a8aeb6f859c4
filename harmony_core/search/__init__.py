"""What a search is: its configuration, its objectives, the frame that it is measured in, and how one is opened."""
