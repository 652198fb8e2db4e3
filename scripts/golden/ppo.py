"""Writes trainers/testdata/ppo.golden.json: PPO's arithmetic on fixed arrays, written from the formulas in float64.

    /opt/hf/bin/python scripts/golden/ppo.py

Per token t of a response of length n (end-of-sequence included), with m its mask:
    k_t = logprob - ref_logprob (k1), or exp(-k1) - 1 + k1 (k3);   R_t = -kl_coef k_t, plus the score at one place
    delta_t = R_t + gamma V_{t+1} - V_t,   A_t = delta_t + gamma lam A_{t+1},   return_t = A_t + V_t
    policy loss = mean over tokens of max(-A ratio, -A clip(ratio, 1 -+ cliprange)) with whitened A
    value loss  = 1/2 mean of max((v - return)^2, (clip(v, V -+ cliprange_value) - return)^2)
Whitening: (x - mean) / sqrt(var + 1e-8), var with ddof 0, over valid tokens; rewards keep their mean.
"""

import random

import torch

from common import TRAINERS, setup, versions, write_json

SMALL = 1e-8


def whiten(x, mask, shift=True):
    """x, mask [B, L]: population mean and variance over the mask; zero elsewhere."""
    n = mask.sum()
    mean = (x * mask).sum() / n
    var = ((x - mean) ** 2 * mask).sum() / n
    out = (x - mean) / torch.sqrt(var + SMALL)
    return (out if shift else out + mean) * mask


def final_scores(scores, ended, opt):
    """What a response without an end-of-sequence token costs."""
    if opt["missing_eos"] == "replace":
        return torch.where(ended, scores, torch.full_like(scores, opt["missing_eos_value"]))
    if opt["missing_eos"] == "subtract":
        return torch.where(ended, scores, scores - opt["missing_eos_value"])
    return scores


def rollout(old, ref, values, lengths, scores, ended, opt):
    """Everything that is fixed before the first update, each [B, L] (L is the longest response)."""
    width = old.shape[1]
    slot = torch.arange(width)[None, :]
    n = lengths[:, None]
    mask = (slot < n).double()
    at = lengths - 1
    value_mask = mask
    if opt["score_at"] == "eos+1":  # the slot after the last token, where the row is not as long as the batch
        at = torch.where(lengths < width, lengths, lengths - 1)
        value_mask = (slot <= n).double()
    k1 = (old - ref) * mask
    k = k1 if opt["kl"] == "k1" else (torch.exp(-k1) - 1 + k1) * mask
    rewards = -opt["kl_coef"] * k
    rewards[torch.arange(len(at)), at] += final_scores(scores, ended, opt)
    if opt["whiten_rewards"]:
        rewards = whiten(rewards, value_mask, shift=False)
    values = values * value_mask
    advantages, carry = torch.zeros_like(old), torch.zeros(len(at), dtype=torch.float64)
    for t in reversed(range(width)):
        after = values[:, t + 1] if t + 1 < width else torch.zeros_like(carry)
        delta = rewards[:, t] + opt["gamma"] * after - values[:, t]
        carry = delta + opt["gamma"] * opt["lam"] * carry
        advantages[:, t] = carry
    returns = (advantages + values) * value_mask
    raw = advantages * value_mask
    whitened = whiten(advantages, mask) if opt["whiten_advantages"] else advantages * mask
    return dict(
        kl=k, rewards=rewards * value_mask, advantages_raw=raw, returns=returns, advantages=whitened,
        mask=mask, value_mask=value_mask,
    )  # fmt: skip


def losses(new, old, new_values, values, roll, opt):
    """Policy, value and total loss with the gradients of the total in the new log-probs and the new values."""
    new, new_values = new.clone().requires_grad_(), new_values.clone().requires_grad_()
    mask, value_mask, adv, ret = (roll[k] for k in ("mask", "value_mask", "advantages", "returns"))
    diff = (new - old) * mask
    ratio, eps = diff.exp(), opt["cliprange"]
    plain, clipped = -adv * ratio, -adv * ratio.clamp(1 - eps, 1 + eps)
    policy = (torch.maximum(plain, clipped) * mask).sum() / mask.sum()
    span = opt["cliprange_value"]
    near = torch.minimum(torch.maximum(new_values, values - span), values + span)
    square, near_square = (new_values - ret) ** 2, (near - ret) ** 2
    value = 0.5 * (torch.maximum(square, near_square) * value_mask).sum() / value_mask.sum()
    total = policy + opt["vf_coef"] * value
    total.backward()
    share = lambda x, m: ((x.double() * m).sum() / m.sum()).item()  # noqa: E731
    return dict(
        policy_loss=policy.item(),
        value_loss=value.item(),
        loss=total.item(),
        policy_clipfrac=share(clipped > plain, mask),
        value_clipfrac=share(near_square > square, value_mask),
        approxkl=share(0.5 * diff.detach() ** 2, mask),
        ratio_mean=share(ratio.detach(), mask),
        grad_logprobs=new.grad,
        grad_values=new_values.grad,
    )


def ragged(x, keep):
    """[B, L] -> rows without what lies outside the mask."""
    return [row[: int(m.sum())] for row, m in zip(x, keep)]


def case(name, arrays, opt, note=""):
    a = {k: torch.tensor(v, dtype=torch.float64) for k, v in arrays.items() if k not in ("lengths", "ended")}
    lengths, ended = torch.tensor(arrays["lengths"]), torch.tensor(arrays["ended"])
    roll = rollout(a["old"], a["ref"], a["values"], lengths, a["scores"], ended, opt)
    loss = losses(a["new"], a["old"], a["new_values"], a["values"], roll, opt)
    mask, wide = roll["mask"], roll["value_mask"]
    narrow = ("kl", "advantages")
    expect = {k: ragged(v, mask if k in narrow else wide) for k, v in roll.items() if "mask" not in k}
    expect["kl_sum"] = roll["kl"].sum(1)
    loss["grad_logprobs"], loss["grad_values"] = ragged(loss["grad_logprobs"], mask), ragged(loss["grad_values"], wide)
    tokens = {k: ragged(a[k], mask) for k in ("old", "ref", "new")}
    slots = {k: ragged(a[k], wide) for k in ("values", "new_values")}
    given = dict(lengths=arrays["lengths"], width=a["old"].shape[1], ended=arrays["ended"], scores=a["scores"])
    return dict(name=name, note=note, options=opt, input=given | tokens | slots, expect=expect | loss)


BASE = dict(
    kl="k1",
    kl_coef=0.05,
    gamma=1.0,
    lam=0.95,
    score_at="eos",
    missing_eos="none",
    missing_eos_value=0.0,
    whiten_rewards=False,
    whiten_advantages=True,
    cliprange=0.2,
    cliprange_value=0.2,
    vf_coef=0.1,
)


def worked():
    """METHODS.md's PPO example."""
    return dict(
        lengths=[3, 2], ended=[True, True], scores=[1.0, -0.5],
        old=[[-1, -0.5, -2], [-0.7, -1.2, 0]], ref=[[-1.2, -0.9, -1.5], [-0.8, -1.0, 0]],
        values=[[0.1, 0.2, 0.3], [0, -0.1, 0]],
        new=[[-0.9, -0.8, -1.6], [-0.7, -1.5, 0]], new_values=[[0.5, 0.1, 0.25], [-0.3, 0.2, 0]],
    )  # fmt: skip


def with_slot(arrays):
    """One more slot of zeros in every row."""
    tables = ("old", "ref", "new", "values", "new_values")
    return {k: [row + [0.0] for row in v] if k in tables else v for k, v in arrays.items()}


def check_worked(got, after):
    """Holds this file to the numbers that METHODS.md computed elsewhere."""
    for key, want in (("policy_loss", -0.052309), ("value_loss", 0.229214), ("loss", -0.029388), ("approxkl", 0.035)):
        if abs(got[key] - want) > 1e-6:
            raise RuntimeError(f"{key} is {got[key]}, METHODS.md says {want}")
    want = torch.tensor([0.775187, 0.721250, 0.675, 1.0], dtype=torch.float64)
    if (after - want).abs().max() > 1e-6:
        raise RuntimeError(f"advantages with the score after eos are {after}, METHODS.md says {want}")


def random_arrays(seed, lengths):
    """Ragged responses; at least one has no end-of-sequence token. All slots hold numbers; masks choose."""
    draw, width = random.Random(seed), max(lengths)
    table = lambda mean, std: [[round(draw.gauss(mean, std), 4) for _ in range(width)] for _ in lengths]  # noqa: E731
    near = lambda t, std: [[round(x + draw.gauss(0, std), 4) for x in row] for row in t]  # noqa: E731
    old, values = table(-2, 0.8), table(0.2, 0.5)
    return dict(
        lengths=lengths, ended=[i != 1 for i in range(len(lengths))],
        scores=[round(draw.gauss(0.5, 1), 4) for _ in lengths],
        old=old, ref=near(old, 0.4), new=near(old, 0.25), values=values, new_values=near(values, 0.3),
    )  # fmt: skip


def main():
    setup()
    a, b, c = [random_arrays(s, n) for s, n in ((1, [5, 7, 3, 1]), (2, [6, 6, 2]), (3, [1, 9, 4, 9, 2]))]
    cases = [
        case("worked", worked(), BASE, "METHODS.md: policy -0.052309, value 0.229214, total -0.029388"),
        case("worked-after-eos", with_slot(worked()), BASE | dict(score_at="eos+1"), "METHODS.md: row 0's advantages"),
        case("k1", a, BASE),
        case("k3", a, BASE | dict(kl="k3")),
        case("discount", b, BASE | dict(gamma=0.99, lam=0.9, kl_coef=0.2)),
        case("whiten-rewards", a, BASE | dict(whiten_rewards=True)),
        case("raw-advantages", b, BASE | dict(whiten_advantages=False)),
        case("missing-replace", a, BASE | dict(missing_eos="replace", missing_eos_value=-1.0)),
        case("missing-subtract", a, BASE | dict(missing_eos="subtract", missing_eos_value=1.0)),
        case("after-eos", a, BASE | dict(score_at="eos+1")),
        case(
            "after-eos-all",
            c,
            BASE
            | dict(score_at="eos+1", whiten_rewards=True, kl="k3", gamma=0.99, lam=0.9)
            | dict(missing_eos="subtract", missing_eos_value=1.0, cliprange=0.1, vf_coef=0.5),
        ),
        case(
            "all",
            c,
            BASE
            | dict(whiten_rewards=True, kl="k3", gamma=0.99, lam=0.9)
            | dict(missing_eos="replace", missing_eos_value=-1.0),
        ),
    ]
    check_worked(cases[0]["expect"], cases[1]["expect"]["advantages_raw"][0])
    path = TRAINERS / "ppo.golden.json"
    write_json(path, {"versions": versions()} | {c["name"]: c for c in cases})
    print({c["name"]: round(c["expect"]["loss"], 6) for c in cases})


if __name__ == "__main__":
    main()
