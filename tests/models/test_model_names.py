"""Names of models as people write them, each to one member of its family."""

from __future__ import annotations

from collections import defaultdict
from importlib import resources
from pathlib import Path

import pytest

from brainmap.common.errors import InputError
from brainmap.models import list_models, model_card, register_model
from brainmap.models.model_cards import names_of, resolve_model
from brainmap.models.model_names import spelling_key
from brainmap.study import GridConfig, StudyConfig

FAMILIES = {
    "dinov3": "dinov3-vits16", "dinov2": "dinov2-small", "dino": "dino-vits16", "ibot": "ibot-vits16",
    "clip": "clip-vit-base-patch32", "siglip2": "siglip2-base-patch16", "owlvit": "owlvit-base-patch32",
    "vit": "vit-large-patch16", "vit-mae": "vit-mae-base", "mae": "vit-mae-base", "convnext": "convnext-large",
    "resnet": "resnet-50", "ijepa": "ijepa-vith14", "vjepa2": "vjepa2-vitl", "eupe": "eupe-vits16",
    "vggt": "vggt-encoder", "lejepa": "lejepa-vits8", "webssl": "webssl-dino300m", "detr": "detr-resnet-50",
    "deit": "deit-small", "dinotxt": "dinotxt-vitl16",
}  # fmt: skip
SPELLINGS = {
    "DINOv3-S": "dinov3-vits16", "DINO v3": "dinov3-vits16", "DINOv3 ViT-S/16": "dinov3-vits16",
    "dinov3_vits16": "dinov3-vits16", "DINOv3-S+": "dinov3-vits16plus", "DINOv3-7B": "dinov3-vit7b16",
    "DINOv3 ConvNeXt-T": "dinov3-convnext-tiny", "ViT-MAE": "vit-mae-base", "MAE-L": "vit-mae-large",
    "CLIP": "clip-vit-base-patch32", "CLIP ViT-B/32": "clip-vit-base-patch32",
    "clip-vit-l/14": "clip-vit-large-patch14",
    "SigLIP 2": "siglip2-base-patch16", "OWL-ViT": "owlvit-base-patch32", "OWLViT-B/16": "owlvit-base-patch16",
    "ResNet-50": "resnet-50", "ResNet50": "resnet-50", "ConvNeXt-L": "convnext-large", "ConvNeXt_Tiny": "convnext-tiny",
    "ViT-L/16": "vit-large-patch16", "vit_large_patch16_224": "vit-large-patch16", "ViT-B/16": "vit-base-patch16",
    "DINOv2 ViT-S/14": "dinov2-small", "dinov2_vitl14": "dinov2-large", "DINOv2-g": "dinov2-giant",
    "dinov2_vits14_reg": "dinov2-registers-small", "I-JEPA": "ijepa-vith14", "V-JEPA 2": "vjepa2-vitl",
    "dino.txt": "dinotxt-vitl16", "Web-SSL": "webssl-dino300m", "VGGT-Ω": "vggt-omega-encoder",
    "VGGT-Omega": "vggt-omega-encoder", "DeiT-Tiny": "deit-tiny", "DETR-ResNet-50": "detr-resnet-50",
    "EUPE-ViT-T": "eupe-vitt16", "iBOT-B": "ibot-vitb16", "dino_tiny": "dino-tiny", " DINO-Tiny ": "dino-tiny",
    "DINO ResNet-50": "dino-resnet50", "dino ViT-B/8": "dino-vitb8",
    "AIMv2": "aimv2-large-patch14", "C-RADIOv4-H": "c-radiov4-h", "RADIO": "c-radiov4-h", "SigLIP2 NaFlex":
    "siglip2-base-patch16-naflex", "RADIOv2.5": "radiov2.5-h",
}  # fmt: skip


def test_families_and_papers_names_in_any_case() -> None:
    assert len(FAMILIES) + len(SPELLINGS) >= 40
    for name, member in (FAMILIES | SPELLINGS).items():
        for spelled in (name, name.upper(), name.lower(), name.title()):
            assert resolve_model(spelled) == member, spelled


def test_every_repository_in_any_case_is_a_member() -> None:
    for name in list_models():
        card = model_card(name)
        if card.hub is not None:
            for spelled in (card.hub, card.hub.upper(), card.hub.lower()):
                assert model_card(spelled).hub == card.hub
        assert name in names_of(card)


def test_no_two_cards_share_a_declared_name() -> None:
    meant = defaultdict(set)
    for name in list_models():
        card = model_card(name)
        for spelled in (card.name, *card.aliases):
            meant[spelling_key(spelled)].add(name)
    assert {key: names for key, names in meant.items() if len(names) > 1} == {}


def test_every_family_has_a_member_of_its_name() -> None:
    shipped = resources.files("brainmap.models") / "cards"
    for family in {file.name.removesuffix(".yaml") for file in shipped.iterdir()} - {"packages"}:
        assert resolve_model(family) in list_models()


def test_what_is_unknown_or_ambiguous_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model named 'dinov4'; did you mean dinov3-vits16"):
        resolve_model("dinov4")
    assert resolve_model("someone/resnet-50") == "someone/resnet-50"  # another's repository is not Microsoft's
    monkeypatch.setattr("brainmap.models.model_cards._registered", {})
    for name in ("twin-a", "twin-b"):
        register_model(model_card("resnet-50").model_copy(update={"name": name, "aliases": ("Twin",), "hub": None}))
    with pytest.raises(InputError, match="'TWIN' can mean twin-a or twin-b"):
        resolve_model("TWIN")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dinov3").mkdir()
    assert resolve_model("dinov3") == "dinov3-vits16"  # such as a clone of the authors' code
    (tmp_path / "dinov3" / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"a folder here and also means the model dinov3-vits16: write \./dinov3"):
        resolve_model("dinov3")
    assert resolve_model("./dinov3") == "./dinov3"


def test_spellings_of_one_model_are_one_study() -> None:
    spelled = StudyConfig(model="DINOv3-S")
    assert spelled.model == "dinov3-vits16"
    assert spelled.digest() == StudyConfig(model="dinov3-vits16").digest()
    cells = GridConfig.from_dict({"grid": {"model": ["dinov3", "DINOv3-S"]}}).cells()
    assert [cell.config.model for cell in cells] == ["dinov3-vits16"]
    assert cells[0].spellings == {"dinov3", "DINOv3-S"}
    with pytest.raises(InputError, match="setting 'model' = 'dinov4': There is no model named"):
        StudyConfig.from_dict({"model": "dinov4"})


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("PE-Core-L14-336", "timm:vit_pe_core"),
        ("facebook/PE-Core-L14-336", "timm:vit_pe_core"),
        ("Perception Encoder", "timm:vit_pe_core"),
        ("RVM", "from_module"),
        ("vito", "from_module"),
        ("LCL-V2", "from_module"),
        ("e-radio", "from_module"),
    ],
)
def test_models_that_no_package_builds_say_what_to_do(name: str, advice: str) -> None:
    with pytest.raises(InputError, match=f"There is no model named '{name}'.*{advice}"):
        resolve_model(name)
