# Sparse voxels of ten LiDAR sweeps and six cameras, fused by channel attention, full size: the LiDAR-camera teacher of
# UniDistill (Zhou et al., CVPR 2023).
_base_ = "../camera/lift_splat_r50_nuscenes.py"

model = dict(
    lidar_encoder=dict(type="VoxelEncoder", downsample=8, voxel_height=0.2, max_voxels=(120000, 160000)),
    fusion=dict(type="ChannelAttentionFusion", out_channels=256),
)

train_pipeline = [
    dict(type="LoadSweeps", sweeps=9),
    dict(
        type="LoadCameras",
        size={{_base_.image_size}},
        augment=dict(resize=(0.877, 1.25), rotate=(-5.4, 5.4), flip=True),
    ),
    dict(type="BEVAugment"),
    dict(type="PackBEV"),
]
test_pipeline = [
    dict(type="LoadSweeps", sweeps=9),
    dict(type="LoadCameras", size={{_base_.image_size}}),
    dict(type="PackBEV"),
]
modality = dict(use_lidar=True, use_camera=True)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=modality))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, modality=modality))
test_dataloader = val_dataloader
