package demo

// The task in words, for reports and for readers.

import "fmt"

// Describe explains the task to somebody new to RLHF, in plain paragraphs separated by empty lines. Its numbers come
// from the same constants as the task itself.
func Describe() string {
	example := Prompt{1, 2}
	best := Optimum(example)
	return fmt.Sprintf(`The task. A prompt asks for a salsa, as in "%s"; the answer is a list of at most %d of %d ingredients, such as "%s". There are %d combinations of one to three adjectives; %d of them never occur in training and serve for evaluation.

The gold reward. Every ingredient tastes of something: heat, acid, sweet, salt, herb, body or smoke, in whole units. Every prompt wants a certain amount of each. A unit that is wanted earns 1 point; a unit beyond that costs %.1f, an ingredient used again costs %.1f, and a word that is no ingredient costs %.1f. Divided by the amount wanted, gold is 1 for a perfect salsa (the example is one), 0 for an empty bowl, and negative for a salsa that is worse than none. Because this reward is known exactly, we can see what in real life stays hidden: whether the policy that pleases its reward model also pleases the eater.

The demonstrations. A hurried cook wrote them. It knows what suits the adjectives, but tastes the pot only for every second ingredient, grabs a wrong jar one time in ten, and usually stops after %d to %d ingredients. A model that imitates it perfectly gets less than half of the gold that is possible, mostly because too little is in the bowl.

The reward model. An annotator compares two recipes by the imitating model. It is noisy: it is wrong on about one pair in seven. And it is biased: it finds long lists generous and likes heat whether wanted or not. The reward model learns from these labels only. On recipes like the cook's it is right most of the time, and what it sees there is that one ingredient more is nearly always better. Nobody has shown it what happens in an overfull bowl.

The bend. Optimising against the reward model therefore helps at first: fuller, better chosen recipes. Pushed on, the policy leaves the recipes that the reward model has seen and follows its mistakes: ever longer, ever hotter lists, which the reward model praises and the gold reward punishes. Gold rises and then falls, the further the policy moves from its reference (its KL divergence), which is the over-optimisation of a learned reward (Gao, Schulman and Hilton 2023, arXiv 2210.10760). How high a method's curve of gold over KL rises before it bends is what the comparison measures. PPO holds on to one fine-tuned model as its reference; SALSA to the average of two.`,
		example.Text(), MaxIngredients, NumIngredients, best.Text(), len(Combinations()), heldOut,
		ExcessPrice, RepeatPrice, MalformedPrice,
		DefaultCook.MinLength, DefaultCook.MinLength+DefaultCook.Spread)
}
