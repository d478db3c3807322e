# LiDAR and cameras: the encoders of lidar_teacher.py and camera_student.py, fused by channel attention.
_base_ = "./camera_student.py"

model = dict(
    lidar_encoder=dict(type="PillarEncoder", out_channels=64, pillar_channels=32, downsample=2, max_points=16),
    fusion=dict(type="ChannelAttentionFusion", out_channels=64),
)

train_pipeline = [
    dict(type="LoadSweeps", sweeps=0),
    dict(type="LoadCameras", size={{_base_.image_size}}),
    {{_base_.augment}},
    dict(type="PackBEV"),
]
test_pipeline = [
    dict(type="LoadSweeps", sweeps=0),
    dict(type="LoadCameras", size={{_base_.image_size}}),
    dict(type="PackBEV"),
]
modality = dict(use_lidar=True, use_camera=True)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=modality))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, modality=modality))
test_dataloader = val_dataloader
