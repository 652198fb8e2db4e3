package soup

// Soups of reward models: one network whose weights are the average of several reward models', which are steadier under
// a policy that moves away than any of them, and cost no more than one (WARM, Ramé et al., arXiv 2401.12187).

import "salsa/models"

// LoadScorer returns the live reward model that e stands for; its weights belong to the caller's scope. Every member's
// scale of scores must be the same.
func (e Expr) LoadScorer(opt models.Options) (*models.Scorer, error) {
	s, err := models.LoadScorer(e.Dirs[0], opt)
	if err != nil || len(e.Dirs) == 1 {
		return s, err
	}
	members, err := Open(e.Dirs)
	if err != nil {
		return nil, err
	}
	defer members.Close()
	return s, members.Mix(s, Linear(Fixed(e.Weights...)))
}
