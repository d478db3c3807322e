# BEVDepth (Li et al., AAAI 2023), single frame: a camera-aware depth net that LiDAR points supervise, full size.
_base_ = "./lift_splat_r50_nuscenes.py"

model = dict(
    camera_encoder=dict(
        channels=80,
        out_channels=256,
        depth_net=dict(type="CameraAwareDepthNet", mid_channels=512),
        depth_weight=3.0,
    ),
)

train_pipeline = [
    dict(type="LoadSweeps", sweeps=0),  # for the depth only; the network sees images alone
    dict(
        type="LoadCameras",
        size={{_base_.image_size}},
        augment=dict(resize=(0.877, 1.25), rotate=(-5.4, 5.4), flip=True),
    ),
    dict(type="BEVAugment"),
    dict(type="PackBEV"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=dict(use_lidar=True, use_camera=True)))
