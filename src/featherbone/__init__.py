"""CNN backbones built on feature reuse: build them, measure them, train them, ship them.

>>> import featherbone as fb
>>> model = fb.create_model("vovnet39", num_classes=10)
>>> maps = fb.create_model("densenet121", features_only=True, out_indices=(1, 2, 3))
>>> maps.strides
(4, 8, 16)
"""

from featherbone.analysis import GuidelineResult as GuidelineResult
from featherbone.analysis import guidelines as guidelines
from featherbone.cost import Bound as Bound
from featherbone.cost import Cost as Cost
from featherbone.cost import CostRow as CostRow
from featherbone.cost import Peak as Peak
from featherbone.cost import cost as cost
from featherbone.cost import reconcile as reconcile
from featherbone.cost import roofline as roofline
from featherbone.cost.comparison import Comparison as Comparison
from featherbone.cost.comparison import ComparisonGroup as ComparisonGroup
from featherbone.data import Preprocess as Preprocess
from featherbone.data.check.classification import ClassificationCheck as ClassificationCheck
from featherbone.data.check.detection import DetectionCheck as DetectionCheck
from featherbone.data.check.report import Duplicates as Duplicates
from featherbone.data.check.report import Finding as Finding
from featherbone.data.check.report import ImageRef as ImageRef
from featherbone.detect.detector import Detector as Detector
from featherbone.detect.detector import DetectorSpec as DetectorSpec
from featherbone.detect.detector import reset_classes as reset_classes
from featherbone.detect.detector import with_backbone as with_backbone
from featherbone.detect.necks import NECKS as NECKS
from featherbone.detect.necks import NeckSpec as NeckSpec
from featherbone.detect.necks import build_neck as build_neck
from featherbone.detect.necks import neck_spec as neck_spec
from featherbone.detect.postprocess import postprocess as postprocess
from featherbone.errors import InputError as InputError
from featherbone.errors import InterruptedRunError as InterruptedRunError
from featherbone.layers import ChannelNorm as ChannelNorm
from featherbone.layers import Dense as Dense
from featherbone.layers import Gate as Gate
from featherbone.layers import Head as Head
from featherbone.layers import OneShot as OneShot
from featherbone.layers import Parallel as Parallel
from featherbone.layers import Residual as Residual
from featherbone.layers import Scale as Scale
from featherbone.layers import Shuffle as Shuffle
from featherbone.layers import Split as Split
from featherbone.layers import Wiring as Wiring
from featherbone.layers import conv as conv
from featherbone.layers import depthwise as depthwise
from featherbone.layers import ese as ese
from featherbone.layers import preconv as preconv
from featherbone.layers import recompute as recompute
from featherbone.layers import se as se
from featherbone.models import count_parameters as count_parameters
from featherbone.models import form as form
from featherbone.models import list_models as list_models
from featherbone.models import spec as spec
from featherbone.pyramid import Pyramid as Pyramid
from featherbone.report.pictures.guidelines import draw_guidelines as draw_guidelines
from featherbone.runs.run import Run as Run
from featherbone.runs.start import DEFAULT_DETECTOR as DEFAULT_DETECTOR
from featherbone.runs.start import DEFAULT_MODEL as DEFAULT_MODEL
from featherbone.spec import Backbone as Backbone
from featherbone.spec import Spec as Spec
from featherbone.spec import freeze as freeze
from featherbone.spec import reset_head as reset_head
from featherbone.training import RECIPES as RECIPES
from featherbone.training import Recipe as Recipe
from featherbone.verbs.check_data import check_data as check_data
from featherbone.verbs.check_data import data_page as data_page
from featherbone.verbs.compare import compare as compare
from featherbone.verbs.compare import comparison_page as comparison_page
from featherbone.verbs.create_model import create_model as create_model
from featherbone.verbs.evaluate import evaluate as evaluate
from featherbone.verbs.evaluate import evaluation_pictures as evaluation_pictures
from featherbone.verbs.export import export as export
from featherbone.verbs.hub import from_pretrained as from_pretrained
from featherbone.verbs.hub import push_to_hub as push_to_hub
from featherbone.verbs.import_weights import import_file as import_file
from featherbone.verbs.optimize import optimize as optimize
from featherbone.verbs.predict import detect_video as detect_video
from featherbone.verbs.predict import draw_detections as draw_detections
from featherbone.verbs.predict import predict as predict
from featherbone.verbs.predict import predict_files as predict_files
from featherbone.verbs.run_page import run_page as run_page
from featherbone.verbs.train import resume as resume
from featherbone.verbs.train import train as train
from featherbone.weights import Imported as Imported
from featherbone.weights import import_weights as import_weights
from featherbone.weights import load as load
from featherbone.weights import load_weights as load_weights
from featherbone.weights import read_header as read_header
from featherbone.weights import save as save
from featherbone.weights.catalog import Published as Published
from featherbone.weights.catalog import published_weights as published_weights
from featherbone.weights.open import open_network as open_network
