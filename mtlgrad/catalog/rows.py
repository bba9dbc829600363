"""The rows of the catalog, one a method: adding a method adds one here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mtlgrad import aggregators as agg
from mtlgrad import scalarizers as scal
from mtlgrad.method import Method


@dataclass(frozen=True)
class Entry:
    """One row of the catalog."""

    name: str
    """As configuration files and the command line say it."""
    make: Callable[..., Method]
    """The class."""
    paper: str
    """Authors, venue."""
    year: int
    cost: str
    """Of one decision for m tasks, beside the Gramian and the combination."""
    example: dict[str, Any] = field(default_factory=dict)
    """Arguments for a class that has no defaults, for two tasks."""
    variants: tuple[dict[str, Any], ...] = ()
    """Further hyperparameters worth testing as methods of their own."""

    @property
    def method(self) -> Method:
        """The method with its defaults."""
        return self.make(**self.example)

    @property
    def methods(self) -> list[Method]:
        """The method with its defaults, then its variants."""
        return [self.method, *(self.make(**{**self.example, **changed}) for changed in self.variants)]


ENTRIES = (
    Entry("sum", scal.Sum, "Caruana, Machine Learning", 1997, "0"),
    Entry("mean", scal.Mean, "Caruana, Machine Learning", 1997, "0"),
    Entry("fixed", scal.Fixed, "Kurin et al., NeurIPS; Xin et al., NeurIPS", 2022, "0", {"weights": (1.0, 0.5)}),
    Entry("gh", agg.GH, "Huang, Song, Zhang, TPAMI", 2024, "O(1) for m=2; m NNLS of size m"),
    Entry(
        "ghpp",
        agg.GHPlusPlus,
        "Huang, Song, Zhang, TPAMI",
        2024,
        "O(1)",
        variants=({"form": "rotation"}, {"form": "rotation", "lam": "safe"}, {"lam": 0.2}),
    ),
    Entry("negated", agg.NegatedGradient, "Huang, Song, Zhang, TPAMI", 2024, "O(1)", variants=({"task": 1},)),
    Entry("pcgrad", agg.PCGrad, "Yu et al., NeurIPS", 2020, "O(m^3)", variants=({"order": "fixed"},)),
    Entry("gradvac", agg.GradVac, "Wang et al., ICLR", 2021, "O(m^3)", variants=({"beta": 0.0},)),
    Entry("agem", agg.AGEM, "Chaudhry et al., ICLR", 2019, "O(m)", variants=({"main": 1},)),
    Entry(
        "pcd",
        agg.PCD,
        "Varam et al., TMLR",
        2026,
        "one NNLS of size m",
        variants=({"tau": 0.5, "main": 1}, {"eps": 0.0}, {"tau": (0.0, 0.5)}),
    ),
    Entry(
        "dualproj",
        agg.DualProj,
        "Lopez-Paz, Ranzato, NeurIPS",
        2017,
        "O(1) for m=2; one NNLS of size m",
        variants=({"preference": (1.0, 3.0)},),
    ),
    Entry(
        "upgrad",
        agg.UPGrad,
        "Quinton, Rey, arXiv",
        2024,
        "O(1) for m=2; m NNLS of size m",
        variants=({"preference": (1.0, 3.0)}, {"preference": (1.0, 3.0, 0.0)}),
    ),
    Entry("mgda", agg.MGDA, "Desideri, C. R. Math.; Sener, Koltun, NeurIPS", 2018, "one NNLS of size m"),
    Entry(
        "capped_mgda",
        agg.CappedMGDA,
        "Hu, Ho, Yu, arXiv",
        2026,
        "a few m x m solves",
        variants=({"alpha": 1.0}, {"alpha": 0.1}, {"alpha": 0.8}),
    ),
    Entry(
        "cagrad",
        agg.CAGrad,
        "Liu et al., NeurIPS",
        2021,
        "about ten NNLS of size m",
        variants=({"c": 1.5}, {"c": 1.0, "rescale": "c"}, {"rescale": "c_squared"}),
    ),
    Entry(
        "imgrad",
        agg.IMGrad,
        "Zhou et al., IJCAI",
        2025,
        "about ten NNLS of size m",
        variants=({"c": 0.8, "rescale": "c_squared"},),
    ),
    Entry(
        "sdmgrad", agg.SDMGrad, "Xiao, Ban, Ji, NeurIPS", 2023, "20 projections", variants=({"lam": 0.0, "lr": 0.5},)
    ),
    Entry("modo", agg.MoDo, "Chen et al., NeurIPS", 2023, "one projection", variants=({"rho": 0.0},)),
    Entry(
        "nashmtl",
        agg.NashMTL,
        "Navon et al., ICML",
        2022,
        "O(1) for m=2; ten m x m solves",
        variants=({"max_norm": 1.0},),
    ),
    Entry(
        "fairgrad",
        agg.FairGrad,
        "Ban, Ji, ICML",
        2024,
        "ten m x m solves",
        variants=({"alpha": 1.0}, {"alpha": 0.5}),
    ),
    Entry("dibs_mtl", agg.DiBSMTL, "Murthy et al., arXiv", 2025, "O(m^2)", variants=({"steps": 5},)),
    Entry("imtlg", agg.IMTLG, "Liu et al., ICLR", 2021, "O(1) for m=2; one eigendecomposition"),
    Entry(
        "alignedmtl",
        agg.AlignedMTL,
        "Senushkin et al., CVPR",
        2023,
        "O(1) for m=2; one eigendecomposition",
        variants=({"scale": "median"}, {"scale": "rmse"}, {"preference": (1.0, 2.0)}),
    ),
    Entry(
        "config",
        agg.ConFIG,
        "Liu, Chu, Thuerey, ICLR",
        2025,
        "O(1) for m=2; one eigendecomposition",
        variants=({"preference": (1.0, 2.0, 0.5, 1.0, 3.0)},),
    ),
    Entry("gradnorm", agg.GradNorm, "Chen et al., ICML", 2018, "O(m)", variants=({"alpha": 0.12},)),
    Entry(
        "krum",
        agg.Krum,
        "Blanchard et al., NeurIPS",
        2017,
        "O(m^2)",
        variants=({"byzantine": 0}, {"byzantine": 0, "selected": 2}),
    ),
    Entry("graddrop", agg.GradDrop, "Chen et al., NeurIPS", 2020, "O(mn)", variants=({"leak": 0.3},)),
    Entry("graddrop_activations", agg.ActivationGradDrop, "Chen et al., NeurIPS", 2020, "O(mn)"),
    Entry("moco", agg.MoCo, "Fernando et al., ICLR", 2023, "O(mn)", variants=({"rho": 0.0, "beta": 1.0},)),
    Entry("excessmtl", agg.ExcessMTL, "He et al., ICML", 2024, "O(mn)", variants=({"eta": 1.0, "warmup": 3},)),
    Entry("dbmtl", agg.DBMTL, "Lin et al., arXiv", 2023, "O(mn)", variants=({"sigma": 0.5},)),
    Entry("mconfig", agg.MConFIG, "Liu et al., ICLR", 2025, "O(mn)"),
    Entry("lr_annealing", agg.LRAnnealing, "Wang, Teng, Perdikaris, SISC", 2021, "O(mn)", variants=({"main": 1},)),
    Entry("andmask", agg.ANDMask, "Parascandolo et al., ICLR", 2021, "O(mn)", variants=({"threshold": 0.5},)),
    Entry("trimmedmean", agg.TrimmedMean, "Yin et al., ICML", 2018, "O(kmn)", variants=({"trim": 0}, {"trim": 2})),
    Entry("every", agg.Every, "this library", 2026, "the inner's / k", {"k": 4, "inner": agg.CAGrad()}),
    Entry("ema", agg.Ema, "this library", 2026, "the inner's", {"inner": agg.CAGrad()}),
    Entry(
        "cr_mogm",
        agg.CRMOGM,
        "Zhou et al., NeurIPS",
        2022,
        "the inner's",
        {"inner": agg.MGDA()},
        variants=({"alpha": 0.0},),
    ),
    Entry(
        "normalised",
        agg.Normalised,
        "Sener, Koltun, NeurIPS",
        2018,
        "the inner's",
        {"inner": agg.MGDA()},
        variants=({"by": "loss"}, {"by": "loss+"}, {"inner": agg.PCGrad()}),
    ),
    Entry("uw", scal.UW, "Kendall et al., CVPR", 2018, "0"),
    Entry("dwa", scal.DWA, "Liu et al., CVPR", 2019, "0", {"window": 1}, variants=({"window": 10},)),
    Entry("rlw", scal.RLW, "Lin et al., TMLR", 2022, "0"),
    Entry("gls", scal.GLS, "Chennupati et al., CVPRW", 2019, "0"),
    Entry("si", scal.SILS, "Navon et al., ICML", 2022, "0"),
    Entry("imtl_l", scal.IMTLL, "Liu et al., ICLR", 2021, "0"),
    Entry("famo", scal.FAMO, "Liu et al., NeurIPS", 2023, "0", variants=({"floor": (0.1, 0.2)},)),
    Entry("stch", scal.STCH, "Lin et al., ICML", 2024, "0", variants=({"preference": (0.3, 0.7), "mu": 0.1},)),
    Entry(
        "stch_set",
        scal.STCHSet,
        "Lin et al., ICLR",
        2025,
        "0",
        {"preference": (0.5,), "solutions": 2},
        variants=({"preference": (0.3, 0.7), "solutions": 4, "mu": 0.1},),
    ),
    Entry("tchebycheff", scal.Tchebycheff, "Steuer, Choo", 1983, "0", variants=({"preference": (1.0, 2.0)},)),
    Entry("pbi", scal.PBI, "Zhang, Li, IEEE TEC", 2007, "0", variants=({"preference": (1.0, 2.0), "theta": 0.5},)),
    Entry("cosmos", scal.COSMOS, "Ruchte, Grabocka, ICDM", 2021, "0", variants=({"preference": (1.0, 2.0)},)),
    Entry(
        "softadapt",
        scal.SoftAdapt,
        "Heydari et al., arXiv",
        2019,
        "0",
        variants=({"variant": "normalized"}, {"variant": "loss", "beta": -1.0}),
    ),
    Entry("relobralo", scal.ReLoBRaLo, "Bischof, Kraus, arXiv", 2021, "0", variants=({"memory": 0.5, "alpha": 0.5},)),
    Entry("uwso", scal.UWSO, "Kirchdorfer et al., arXiv", 2024, "0", variants=({"temperature": 5.0},)),
    Entry("igb", scal.IGB, "Dai, Fei, Lu, UAI", 2023, "0", {"window": 1}, variants=({"window": 10, "base": 0},)),
    Entry("dwl", scal.DWL, "Xiao, Zhang, CVPR", 2021, "0", {"alignment": 0.6, "discriminability": 0.8}),
)
