"""What a network costs: counted from its trace, measured on this machine (``cost.measured``), bounded by both."""

from featherbone.cost.counts import By as By
from featherbone.cost.counts import Cost as Cost
from featherbone.cost.counts import CostRow as CostRow
from featherbone.cost.counts import cost as cost
from featherbone.cost.memory import Peak as Peak
from featherbone.cost.reconcile import Reconciled as Reconciled
from featherbone.cost.reconcile import reconcile as reconcile
from featherbone.cost.roofline import Bound as Bound
from featherbone.cost.roofline import roofline as roofline
