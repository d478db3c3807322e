# lidar_voxel.py shrunk as RDD's CP-Voxel-XXS is (Li et al., ICCV 2023):
# half of the encoder's channels, a quarter of those behind it.
_base_ = "./lidar_voxel.py"

model = dict(
    lidar_encoder=dict(width=0.25),
    bev_encoder=dict(
        backbone=dict(out_channels=[8, 16, 32]),
        neck=dict(in_channels=[8, 16, 32], out_channels=[8, 8, 8]),
    ),
    head=dict(share_conv_channel=8),
)
