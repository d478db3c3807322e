# lidar_voxel.py shrunk as RDD's CP-Voxel-S is (Li et al., ICCV 2023): half the channels behind the encoder.
_base_ = "./lidar_voxel.py"

model = dict(
    bev_encoder=dict(
        backbone=dict(out_channels=[16, 32, 64]),
        neck=dict(in_channels=[16, 32, 64], out_channels=[16, 16, 16]),
    ),
    head=dict(share_conv_channel=16),
)
