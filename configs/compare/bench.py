# What distillation gains on the synthetic world, path by method, three seeds: some hours on two quiet cores.
#   nohup nice python tools/compare.py configs/compare/bench.py --threads 2 > bench.log 2>&1 &
# The papers' methods alone, 27 trainings: --only 'l2*' 'f2*' 'c2*'. The same command goes on after a kill.
# Students train briefly and are far from trained out, teachers train longer; a student has the same schedule, samples
# and order with and without a teacher. The scenes of `unseen` are for the table alone: settings are to be chosen on
# the validation scenes of `world`.
#
# "UniDistill", "DistillBEV" and "RDD" are the papers' methods alone. "start" copies the teacher's bird's-eye-view
# encoder and head into the student before the first step and distils nothing after it; "start + X" does both, so that
# what X adds is its gain less that of "start".
_size = dict(frames=40, image_size=(128, 352))
world = dict(root="data/bench", synthetic=dict(seed=0, **_size))
unseen = dict(root="data/bench_unseen", synthetic=dict(seed=101, scenes=1, **_size))  # its training scene is not used
seeds = (0, 1, 2)

_short = {"train_cfg.max_epochs": 4}
_depth = "configs/synthetic/camera_bevdepth.py"  # a camera teacher had best know depth
_compact = {**_short, "model.student.lidar_encoder.downsample": 1}  # as lidar_pillar_coarse.py
_seeing = {**_compact, "model.teacher.config": _depth}
_parts = {"bev_encoder": "bev_encoder", "head": "head"}
_start = {"+model.init_from_teacher": _parts}
_silent = {"+model.schedules": {"unidistill": [(0, 0.0)]}}
# Small recipes have other weights than the papers where the validation scenes, with seed 0, said so: UniDistill's are
# 10, 5, 10 from LiDAR to camera and 30, 5, 0.3 from camera to LiDAR, DistillBEV's a fifth.
_u = "model.methods.unidistill."
_uni_l2c_paper = {_u + "feature": 100.0, _u + "relation": 40.0}
_uni_c2l_paper = {_u + "feature": 10.0, _u + "response": 1.0}
_strong = {"+model.methods.rdd.feature": 200.0}  # a thousandfold

teachers = dict(
    lidar=dict(config="configs/synthetic/lidar_teacher.py", options={"train_cfg.max_epochs": 12}),
    camera=dict(config=_depth, options={"train_cfg.max_epochs": 24}),
    fusion=dict(config="configs/synthetic/fusion.py", options={"train_cfg.max_epochs": 12}),
)
students = dict(
    camera=dict(config="configs/synthetic/camera_student.py", options=_short),
    lidar=dict(config="configs/synthetic/lidar_pillar_coarse.py", options=_short),
)

_l2c = dict(path="LiDAR → camera", teacher="lidar", student="camera", goal=2.0)
_f2c = dict(path="LiDAR + camera → camera", teacher="fusion", student="camera", goal=2.0)
_c2l = dict(path="camera → LiDAR", teacher="camera", student="lidar", goal=2.0)
_f2l = dict(path="LiDAR + camera → LiDAR", teacher="fusion", student="lidar", goal=2.0)
_l2l = dict(path="LiDAR → compact LiDAR", teacher="lidar", student="lidar", goal=1.5)
_uni_l2c = dict(**_l2c, config="configs/synthetic/unidistill_lidar_to_camera.py")
_uni_f2c = dict(**_f2c, config="configs/unidistill/fusion_to_camera_synthetic.py")
_uni_c2l = dict(**_c2l, config="configs/unidistill/camera_to_lidar_synthetic.py")
_uni_f2l = dict(**_f2l, config="configs/unidistill/fusion_to_lidar_synthetic.py")
_distillbev = dict(**_l2c, config="configs/distillbev/lidar_to_camera_synthetic.py")
_rdd = dict(**_l2l, config="configs/rdd/pillar_synthetic.py")
_start_l2c = {**_uni_l2c, "goal": None}  # the goals are for the methods
_start_f2l = {**_uni_f2l, "goal": None}

arms = dict(
    l2c_unidistill=dict(**_uni_l2c, method="UniDistill", options=_short),
    l2c_distillbev=dict(**_distillbev, method="DistillBEV", options=_short),
    f2c_unidistill=dict(**_uni_f2c, method="UniDistill", options=_short),
    c2l_unidistill=dict(**_uni_c2l, method="UniDistill", options=_seeing),
    f2l_unidistill=dict(**_uni_f2l, method="UniDistill", options=_compact),
    l2l_rdd=dict(**_rdd, method="RDD", options=_short),
    strong_f2l_unidistill=dict(
        **_uni_f2l, method="UniDistill, feature weight 30", options={**_compact, _u + "feature": 30.0}
    ),
    strong_l2l_rdd=dict(**_rdd, method="RDD, feature weight 200", options={**_short, **_strong}),
    start_l2c=dict(**_start_l2c, method="start", options={**_short, **_start, **_silent}),
    start_f2l=dict(**_start_f2l, method="start", options={**_compact, **_start, **_silent}),
    start_l2c_unidistill=dict(**_start_l2c, method="start + UniDistill", options={**_short, **_start}),
    start_f2l_unidistill=dict(**_start_f2l, method="start + UniDistill", options={**_compact, **_start}),
    paper_l2c_unidistill=dict(**_uni_l2c, method="UniDistill, paper's weights", options={**_short, **_uni_l2c_paper}),
    paper_c2l_unidistill=dict(**_uni_c2l, method="UniDistill, paper's weights", options={**_seeing, **_uni_c2l_paper}),
)
