# camera_student.py with BEVDepth's camera-aware depth net and supervision of depth (Li et al., AAAI 2023), small.
_base_ = "./camera_student.py"

model = dict(
    camera_encoder=dict(
        depth_net=dict(type="CameraAwareDepthNet", mid_channels=64, blocks=1, dilations=(1, 3, 1)),
        depth_weight=3.0,
    ),
)

train_pipeline = [
    dict(type="LoadSweeps", sweeps=0),  # for the depth only; the network sees images alone
    dict(type="LoadCameras", size={{_base_.image_size}}),
    {{_base_.augment}},
    dict(type="PackBEV"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=dict(use_lidar=True, use_camera=True)))
