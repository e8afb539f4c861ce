"""Full-precision LoRA retraining in phases."""
