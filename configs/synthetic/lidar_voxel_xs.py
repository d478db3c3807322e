# lidar_voxel.py shrunk as RDD's CP-Voxel-XS is (Li et al., ICCV 2023):
# three quarters of the encoder's channels, half of those behind it.
_base_ = "./lidar_voxel.py"

model = dict(
    lidar_encoder=dict(width=0.375),
    bev_encoder=dict(
        backbone=dict(out_channels=[16, 32, 64]),
        neck=dict(in_channels=[16, 32, 64], out_channels=[16, 16, 16]),
    ),
    head=dict(share_conv_channel=16),
)
