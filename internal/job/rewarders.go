package job

// What scores completions, as users write it: a reward model, a soup of several, an ensemble, or an exact score.

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/soup"
	"salsa/trainers"
)

// goldPrefix marks an exact score.
const goldPrefix = "gold:"

// rewardExpr is DIR, a reward model; DIR,DIR[@w,w], the weight soup of several (WARM); DIR,DIR@mean, @min or @mean-1std,
// an ensemble; or gold:NAME, an exact score.
type rewardExpr struct {
	text     string
	gold     string           // name of an exact score; no models then
	models   soup.Expr        // the soup, or the members of the ensemble with equal weights
	ensemble bool             // the members score one by one
	combine  trainers.Combine // of an ensemble
}

// combining matches how an ensemble combines its members' scores.
var combining = regexp.MustCompile(`^(min|mean|mean-([0-9.]+)std)$`)

// nearlyCombining matches what is meant as combining and is not: no folder's name follows an @ like that.
var nearlyCombining = regexp.MustCompile(`^(min|max|mean|median|avg|std)([-+*,].*)?$`)

// parseReward reads a rewardExpr; flag is the option that holds it, for messages.
func parseReward(flag, text string) (rewardExpr, error) {
	e := rewardExpr{text: text}
	if name, ok := strings.CutPrefix(text, goldPrefix); ok {
		if e.gold = name; goldNames[name] == nil {
			return e, fault.Inputf("--%s %s: there is no exact score %q; choose one of %s", flag, text, name, strings.Join(slices.Sorted(maps.Keys(goldNames)), ", "))
		}
		return e, nil
	}
	list := text
	if i := strings.LastIndex(text, "@"); i >= 0 {
		if how := combining.FindStringSubmatch(text[i+1:]); how != nil {
			list, e.ensemble = text[:i], true
			std, err := strconv.ParseFloat(cmp.Or(how[2], "0"), 64)
			if err != nil {
				return e, fault.Inputf("--%s %s: %q is no number of standard deviations; write mean-1std", flag, text, how[2])
			}
			e.combine = trainers.Combine{Min: how[1] == "min", Std: std}
		} else if nearlyCombining.MatchString(text[i+1:]) {
			return e, fault.Inputf("--%s %s: @%s is no way to ask an ensemble; use @mean, @min or @mean-1std", flag, text, text[i+1:])
		}
	}
	var err error
	if e.models, err = soup.ParseExpr(list, false); err != nil {
		return e, fault.Inputf("--%s: %w", flag, err)
	}
	if e.ensemble && len(e.models.Dirs) < 2 {
		return e, fault.Inputf("--%s %s: an ensemble of one is that model; give several folders, or leave out @%s", flag, text, e.combine)
	}
	return e, nil
}

// rewardDirs lists the folders inside a rewardExpr; none if it cannot be read, of which Validate says why.
func rewardDirs(text string) []string {
	e, err := parseReward("", text)
	if err != nil {
		return nil
	}
	return e.models.Dirs
}

// goldIn is the name of the exact score that a rewardExpr is, or "".
func goldIn(text string) string {
	if name, ok := strings.CutPrefix(text, goldPrefix); ok {
		return name
	}
	return ""
}

// single is what a network of the expression's shape starts from: the soup, or the first member of an ensemble.
func (e rewardExpr) single() soup.Expr {
	if e.ensemble {
		return soup.Expr{Dirs: e.models.Dirs[:1], Weights: []float64{1}}
	}
	return e.models
}

// check opens the members by their headers; they must score, share the vocabulary of model, and fit one another if
// their weights are to be mixed.
func (e rewardExpr) check(model string) error {
	if e.gold != "" {
		return nil
	}
	if err := checkModels(models.ScoringModel, e.models.Dirs...); err != nil {
		return err
	}
	for _, dir := range e.models.Dirs {
		if err := sharesVocabulary(model, dir); err != nil {
			return err
		}
	}
	if e.ensemble || len(e.models.Dirs) == 1 {
		return nil
	}
	members, err := soup.Open(e.models.Dirs)
	if err != nil {
		return err
	}
	members.Close()
	return nil
}

// load returns the live rewarder, which scores micro sequences at once; its weights belong to the caller's scope.
func (e rewardExpr) load(opt models.Options, micro int, enc *data.Encoder) (trainers.Rewarder, error) {
	return e.loadWith(micro, enc, func(x soup.Expr) (*models.Scorer, error) { return x.LoadScorer(opt) })
}

// loadWith is load with another way to load a model.
func (e rewardExpr) loadWith(micro int, enc *data.Encoder, load func(soup.Expr) (*models.Scorer, error)) (trainers.Rewarder, error) {
	if e.gold != "" {
		return goldTask(e.gold, enc), nil
	}
	if !e.ensemble {
		s, err := load(e.models)
		return trainers.ModelRewarder{Scorer: s, Micro: micro}, err
	}
	ensemble := &trainers.Ensemble{Names: e.models.Names(), Combine: e.combine}
	for _, dir := range e.models.Dirs {
		s, err := load(soup.Expr{Dirs: []string{dir}, Weights: []float64{1}})
		if err != nil {
			return nil, err
		}
		ensemble.Members = append(ensemble.Members, trainers.ModelRewarder{Scorer: s, Micro: micro})
	}
	return ensemble, nil
}

// id names all that the scores depend on but the rows.
func (e rewardExpr) id(opt models.Options) (string, error) {
	if e.gold != "" {
		return e.text, nil
	}
	id, err := referenceID(e.models, opt)
	if e.ensemble {
		id += " " + e.combine.String()
	}
	return id, err
}
