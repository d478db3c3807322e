# The student of the digits without a teacher: a net of 6,400 parameters.
_base_ = ["../_base_/runtime.py", "../_base_/tasks/digits.py"]

default_scope = "bevkd"
classifier = dict(data_preprocessor={{_base_.images}}, class_names={{_base_.class_names}})
model = dict(type="ImageClassifier", backbone=dict(type="PlainCNN", width=8, in_channels=1), **classifier)
teacher = dict(
    type="LiveTeacher",
    config="configs/classification/digits_teacher.py",
    checkpoint="work_dirs/digits_teacher/epoch_8.pth",
)
