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
from featherbone.data import Preprocess as Preprocess
from featherbone.data.checked import DataCheck as DataCheck
from featherbone.data.checked import Duplicates as Duplicates
from featherbone.data.checked import Finding as Finding
from featherbone.data.checked import Picture as Picture
from featherbone.errors import InputError as InputError
from featherbone.errors import InterruptedRunError as InterruptedRunError
from featherbone.errors import needs as needs
from featherbone.files import PICTURES as PICTURES
from featherbone.files import check_output as check_output
from featherbone.files import write_text as write_text
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
from featherbone.report.guidelines import draw_guidelines as draw_guidelines
from featherbone.spec import Backbone as Backbone
from featherbone.spec import Spec as Spec
from featherbone.spec import freeze as freeze
from featherbone.spec import reset_head as reset_head
from featherbone.train import RECIPES as RECIPES
from featherbone.train import Recipe as Recipe
from featherbone.train import processes as processes
from featherbone.verbs.checking import check_data as check_data
from featherbone.verbs.checking import data_page as data_page
from featherbone.verbs.comparing import ONE_OF_EACH as ONE_OF_EACH
from featherbone.verbs.comparing import compare as compare
from featherbone.verbs.comparing import comparison_page as comparison_page
from featherbone.verbs.comparison import Comparison as Comparison
from featherbone.verbs.comparison import ComparisonGroup as ComparisonGroup
from featherbone.verbs.folder import open_network as open_network
from featherbone.verbs.inference import confusion_picture as confusion_picture
from featherbone.verbs.inference import evaluate as evaluate
from featherbone.verbs.inference import predict as predict
from featherbone.verbs.networks import create_model as create_model
from featherbone.verbs.optimizing import optimize as optimize
from featherbone.verbs.preparing import DEFAULT_MODEL as DEFAULT_MODEL
from featherbone.verbs.reporting import run_page as run_page
from featherbone.verbs.run import Run as Run
from featherbone.verbs.sharing import from_pretrained as from_pretrained
from featherbone.verbs.sharing import import_file as import_file
from featherbone.verbs.sharing import push_to_hub as push_to_hub
from featherbone.verbs.shipping import export as export
from featherbone.verbs.training import resume as resume
from featherbone.verbs.training import train as train
from featherbone.weights import Imported as Imported
from featherbone.weights import import_weights as import_weights
from featherbone.weights import load as load
from featherbone.weights import load_weights as load_weights
from featherbone.weights import read_header as read_header
from featherbone.weights import save as save
from featherbone.weights.published import Published as Published
from featherbone.weights.published import published_weights as published_weights
