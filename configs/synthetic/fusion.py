# LiDAR and cameras: the encoders of lidar_teacher.py and camera_student.py, fused by channel attention.
_base_ = "./camera_student.py"

model = dict(
    lidar_encoder=dict(type="PillarEncoder", out_channels=64, pillar_channels=32, downsample=2, max_points=16),
    fusion=dict(type="ChannelAttentionFusion", out_channels=64),
)

train_dataloader = dict(dataset=dict(pipeline={{_base_.train_both}}, modality={{_base_.both_sensors}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.test_both}}, modality={{_base_.both_sensors}}))
test_dataloader = val_dataloader
