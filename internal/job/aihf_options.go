package job

// The options of salsa aihf, and which of them each form reads.

import (
	"slices"
	"strings"

	"salsa/internal/fault"
	"salsa/internal/options"
	"salsa/soup"
	"salsa/trainers"
)

// AIHFOptions are the options of `salsa aihf`. One that the form does not read is refused.
type AIHFOptions struct {
	Model       string   `yaml:"model" required:"true" input:"path" arg:"DIR" help:"policy to start from, an SFT model"`
	Reference   string   `yaml:"reference" required:"true" arg:"DIR[,DIR...][@w,w...]" help:"frozen model that the policy is held to, usually --model; several folders are averaged into a soup"`
	Extrapolate bool     `yaml:"extrapolate" help:"allow soup weights outside [0, 1]"`
	Demos       []string `yaml:"demos" input:"path" arg:"FILES" help:"demonstrations, rows as for salsa sft; --data has the preference pairs"`
	Identical   string   `yaml:"identical" enum:"error,drop" help:"what happens to pairs whose two completions are the same"`
	RewardModel string   `yaml:"reward_model" arg:"DIR" help:"alternate: reward model that learning starts from, from salsa reward; A,B averages weights"`
	ValueModel  string   `yaml:"value_model" input:"path" arg:"DIR" help:"alternate: value network to start from; empty: the reward model"`
	WatchKL     bool     `yaml:"watch_kl" help:"alternate: log the KL against the start policy and every soup member too; each is one more model in memory"`
	WatchModels []string `yaml:"watch_models" input:"path" arg:"DIRS" help:"alternate: further models whose KL is logged"`
	Gold        string   `yaml:"gold" enum:"none,salsa,salsa-safety" help:"alternate: log an exact reward beside the model's: salsa is the demo task's taste, salsa-safety its safety"`

	Training             `group:"Run"`
	Data                 `group:"Data"`
	TemplateCheck        `group:"Data"`
	trainers.AIHFOptions `group:"Training"`
}

// DefaultAIHF returns the defaults.
func DefaultAIHF() AIHFOptions {
	return AIHFOptions{WatchKL: true, Gold: "none", Identical: "error", Training: defaultTraining(), AIHFOptions: trainers.DefaultAIHF()}
}

// InputPaths lists the folders inside the expressions of the reference and the reward model.
func (o *AIHFOptions) InputPaths() []string {
	return append(memberDirs(o.Reference), rewardDirs(o.RewardModel)...)
}

// aihfGroup is a set of options that only some runs read.
type aihfGroup struct {
	keys  string // separated by blanks
	read  func(o *AIHFOptions) bool
	names string // of the runs that read them
}

func alternates(o *AIHFOptions) bool { return o.Form == "alternate" }

// aihfGroups are the options that not all runs read.
var aihfGroups = []aihfGroup{
	{"beta eval_data", func(o *AIHFOptions) bool { return !alternates(o) }, "--form direct and --form self-play"},
	{"lora_rank", func(o *AIHFOptions) bool { return !alternates(o) }, "--form direct and --form self-play"},
	{"round_steps max_new_tokens temperature rollout_batch_size", func(o *AIHFOptions) bool { return o.Form != "direct" },
		"--form self-play and --form alternate"},
	{"reward_model value_model watch_kl watch_models gold policy reward_updates preference_batch_size reward_learning_rate reward_loss " +
		"ppo_epochs num_mini_batches target_kl missing_eos missing_eos_penalty normalize_scores score_clip sample_every " +
		"mkl ref_update_every ref_update_weight gamma lam vf_coef whiten_rewards whiten_advantages score_at critic_warmup", alternates, "--form alternate"},
	{"kl_coef kl_estimator kl_target kl_horizon cliprange entropy_coef cliprange_value",
		func(o *AIHFOptions) bool { return alternates(o) && o.Policy == "ppo" }, "--form alternate --policy ppo"},
	{"temperature_lambda", func(o *AIHFOptions) bool { return alternates(o) && o.Policy == "apa" }, "--form alternate --policy apa"},
}

// Reads tells whether the form, and the policy's method, read a key.
func (o *AIHFOptions) Reads(key string) bool {
	return !slices.ContainsFunc(aihfGroups, func(g aihfGroup) bool { return slices.Contains(strings.Fields(g.keys), key) && !g.read(o) })
}

// Unread implements options.Selective, for what Validate does not refuse.
func (o *AIHFOptions) Unread(key string) string {
	if key != "mkl" {
		return ""
	}
	return oneReference(o.Reference)
}

// unread refuses options that would change nothing.
func (o *AIHFOptions) unread() error {
	defaults := DefaultAIHF()
	now, was := options.Of(o), options.Of(&defaults)
	for _, group := range aihfGroups {
		if group.read(o) {
			continue
		}
		for key := range strings.FieldsSeq(group.keys) {
			a, _ := now.Get(key)
			b, _ := was.Get(key)
			if a == b {
				continue
			}
			form := "--form " + o.Form
			if alternates(o) && strings.Contains(group.names, "--policy") {
				form += " --policy " + o.Policy
			}
			return fault.Inputf("--%s is not read by %s; leave it out, or use %s", strings.ReplaceAll(key, "_", "-"), form, group.names)
		}
	}
	return nil
}

// Validate checks what the tags cannot.
func (o *AIHFOptions) Validate() error {
	if err := o.unread(); err != nil {
		return err
	}
	if err := o.AIHFOptions.Validate(); err != nil {
		return err
	}
	if _, err := soup.ParseExpr(o.Reference, o.Extrapolate); err != nil {
		return err
	}
	if len(o.Demos) == 0 && (o.WeightDemo > 0 || alternates(o)) {
		return fault.Inputf("--demos is missing: --form %s learns from demonstrations; give rows as for salsa sft%s", o.Form, o.instead())
	}
	if slices.Contains(o.Demos, "") {
		return fault.Inputf("--demos has an empty name; give paths of files")
	}
	if err := o.checkWeights(); err != nil || !alternates(o) {
		return err
	}
	return o.checkReward()
}

// instead is the other remedy for missing demonstrations.
func (o *AIHFOptions) instead() string {
	if alternates(o) {
		return ", whose prompts the policy answers"
	}
	return ", or --weight-demo 0, which is salsa dpo"
}

// checkReward refuses reward models that cannot learn.
func (o *AIHFOptions) checkReward() error {
	if o.RewardModel == "" {
		return fault.Inputf("--reward-model is missing: --form alternate starts from a reward model and trains it on; give a folder of salsa reward")
	}
	e, err := parseReward("reward-model", o.RewardModel)
	if err != nil {
		return err
	}
	if e.gold != "" || e.ensemble {
		return fault.Inputf("--reward-model %s: --form alternate trains the reward model, and this is no single network; give one folder of salsa reward", o.RewardModel)
	}
	return nil
}
