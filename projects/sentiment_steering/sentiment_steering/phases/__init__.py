"""Run the work of each phase under MLflow. Only these modules know `start_phase`."""
