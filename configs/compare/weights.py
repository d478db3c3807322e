# Which weights of the losses: one seed, validation scenes only, before configs/compare/bench.py measures the choice.
#   python tools/compare.py configs/compare/weights.py --threads 2
# Names of arms: path, method, weights (UniDistill: feature, relation, response).
_base_ = "./bench.py"

unseen = None
seeds = (0,)

_lidar = {"train_cfg.max_epochs": 2}
_camera = {"train_cfg.max_epochs": 6}
_uni_lidar = dict(
    path="LiDAR + camera → LiDAR",
    config="configs/unidistill/fusion_to_lidar_synthetic.py",
    teacher="fusion",
    student="lidar",
)
_uni_camera = dict(
    path="LiDAR → camera", config="configs/synthetic/unidistill_lidar_to_camera.py", teacher="lidar", student="camera"
)
_rdd = dict(path="LiDAR → compact LiDAR", config="configs/rdd/pillar_synthetic.py", teacher="lidar", student="lidar")
_distillbev = dict(
    path="LiDAR → camera", config="configs/distillbev/lidar_to_camera_synthetic.py", teacher="lidar", student="camera"
)
_compact = {**_lidar, "model.student.lidar_encoder.downsample": 1}
_uni = "model.methods.unidistill."
_rdd_key = "+model.methods.rdd."
_distillbev_key = "+model.methods.distillbev."

arms = dict(
    _delete_=True,
    f2l_10_1_10=dict(**_uni_lidar, method="UniDistill 10, 1, 10 (paper)", options=_compact),
    f2l_10_40_10=dict(**_uni_lidar, method="UniDistill 10, 40, 10", options={**_compact, _uni + "relation": 40.0}),
    f2l_30_40_10=dict(
        **_uni_lidar,
        method="UniDistill 30, 40, 10",
        options={**_compact, _uni + "feature": 30.0, _uni + "relation": 40.0},
    ),
    f2l_10_40_30=dict(
        **_uni_lidar,
        method="UniDistill 10, 40, 30",
        options={**_compact, _uni + "relation": 40.0, _uni + "response": 30.0},
    ),
    l2c_100_40_10=dict(**_uni_camera, method="UniDistill 100, 40, 10 (paper)", options=_camera),
    l2c_10_40_10=dict(**_uni_camera, method="UniDistill 10, 40, 10", options={**_camera, _uni + "feature": 10.0}),
    l2c_30_40_30=dict(
        **_uni_camera,
        method="UniDistill 30, 40, 30",
        options={**_camera, _uni + "feature": 30.0, _uni + "response": 30.0},
    ),
    # After batch norm and ReLU, features of order 1 leave a softmax at temperature 4 almost flat: 0.004 a region.
    rdd_4=dict(**_rdd, method="RDD 0.2, 0.2 at 4 (paper)", options=_lidar),
    rdd_05=dict(
        **_rdd,
        method="RDD 10, 0.2 at 0.5",
        options={**_lidar, _rdd_key + "temperature": 0.5, _rdd_key + "feature": 10.0},
    ),
    rdd_05_teacher=dict(
        **_rdd,
        method="RDD 10, 0.2 at 0.5, regions of the teacher alone",
        options={
            **_lidar,
            _rdd_key + "temperature": 0.5,
            _rdd_key + "feature": 10.0,
            _rdd_key + "student_regions": 0,
        },
    ),
    distillbev_1=dict(**_distillbev, method="DistillBEV (paper)", options=_camera),
    distillbev_02=dict(
        **_distillbev,
        method="DistillBEV, foreground and background a fifth",
        options={**_camera, _distillbev_key + "foreground": 1.2e-3, _distillbev_key + "background": 8e-3},
    ),
)
