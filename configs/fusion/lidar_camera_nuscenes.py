# Sparse voxels of ten LiDAR sweeps and six cameras, fused by channel attention, full size: the LiDAR-camera teacher of
# UniDistill (Zhou et al., CVPR 2023).
_base_ = "../camera/lift_splat_r50_nuscenes.py"

model = dict(
    lidar_encoder=dict(type="VoxelEncoder", downsample=8, voxel_height=0.2, max_voxels=(120000, 160000)),
    fusion=dict(type="ChannelAttentionFusion", out_channels=256),
)

train_dataloader = dict(dataset=dict(pipeline={{_base_.train_both}}, modality={{_base_.both_sensors}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.test_both}}, modality={{_base_.both_sensors}}))
test_dataloader = val_dataloader
