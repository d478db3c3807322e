# BEVDepth (Li et al., AAAI 2023), single frame: a camera-aware depth net that LiDAR points supervise, full size.
_base_ = [
    "../_base_/runtime.py",
    "../_base_/schedule.py",
    "../_base_/nuscenes.py",
    "../_base_/bev_full.py",
]

image_size = (256, 704)
model = dict(
    data_preprocessor=dict(type="Det3DDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    camera_encoder=dict(
        type="LiftSplatEncoder",
        backbone=dict(
            type="mmdet.ResNet",
            depth=50,
            out_indices=(0, 1, 2, 3),
            norm_cfg=dict(type="BN"),
            norm_eval=False,
            init_cfg=dict(type="Pretrained", checkpoint="https://download.pytorch.org/models/resnet50-0676ba61.pth"),
        ),
        neck=dict(
            type="SECONDFPN",
            in_channels=[256, 512, 1024, 2048],
            out_channels=[128, 128, 128, 128],
            upsample_strides=[0.25, 0.5, 1, 2],
        ),
        in_channels=512,
        channels=80,
        out_channels=256,
        depth=dict(min=2.0, max=58.0, step=0.5),
        depth_net=dict(type="CameraAwareDepthNet", mid_channels=512),
        depth_weight=3.0,
    ),
)

train_pipeline = [
    dict(type="LoadSweeps", sweeps=0),  # for the depth only; the network sees images alone
    dict(
        type="LoadCameras",
        size=image_size,
        augment=dict(resize=(0.877, 1.25), rotate=(-5.4, 5.4), flip=True),
    ),
    dict(type="BEVAugment"),
    dict(type="PackBEV"),
]
test_pipeline = [dict(type="LoadCameras", size=image_size), dict(type="PackBEV")]
modality = dict(use_lidar=False, use_camera=True)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=dict(use_lidar=True, use_camera=True)))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, modality=modality))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=2e-4))
