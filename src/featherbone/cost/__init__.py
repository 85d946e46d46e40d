"""What a network costs: counts read from its trace."""

from featherbone.cost.counts import By as By
from featherbone.cost.counts import Cost as Cost
from featherbone.cost.counts import CostRow as CostRow
from featherbone.cost.counts import cost as cost
from featherbone.cost.memory import Peak as Peak
from featherbone.cost.reconcile import Reconciled as Reconciled
from featherbone.cost.reconcile import reconcile as reconcile
