// The chat templates that can be chosen by name, for models that carry none.
package data

import (
	"slices"
	"strings"

	"salsa/internal/fault"
)

// builtinTemplates holds our own, short formulations of well-known conversation formats. Each ends an assistant turn
// with a token the model can learn to stop at.
var builtinTemplates = []struct{ name, source string }{
	{"chatml", `{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}` +
		`{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`},
	{"llama2", `{% for m in messages %}` +
		`{% if m.role == 'user' %}{{ bos_token + '[INST] ' }}{% if loop.index0 == 1 and messages[0].role == 'system' %}` +
		`{{ '<<SYS>>\n' + messages[0].content + '\n<</SYS>>\n\n' }}{% endif %}{{ m.content + ' [/INST]' }}` +
		`{% elif m.role == 'assistant' %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}`},
	{"llama3", `{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}` +
		`{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}` +
		`{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}`},
	{"mistral", `{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}` +
		`{% elif m.role == 'user' %}{{ '[INST] ' }}{% if loop.index0 == 1 and messages[0].role == 'system' %}` +
		`{{ messages[0].content + '\n\n' }}{% endif %}{{ m.content + ' [/INST]' }}{% endif %}{% endfor %}`},
	{"gemma", `{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('the gemma format has no system turn; drop it or prepend it to the first user turn') }}{% endif %}` +
		`{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}` +
		`{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}`},
	{"zephyr", `{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}{% endfor %}` +
		`{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}`},
	{"alpaca", `{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content + '\n\n' }}` +
		`{% elif m.role == 'user' %}{{ '### Instruction:\n' + m.content + '\n\n' }}` +
		`{% else %}{{ '### Response:\n' + m.content + eos_token }}{% if not loop.last %}{{ '\n\n' }}{% endif %}{% endif %}{% endfor %}` +
		`{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}`},
	{"plain", `{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content + eos_token }}` +
		`{% else %}{{ m.content + '\n' }}{% endif %}{% endfor %}`},
}

// BuiltinTemplates lists the names that BuiltinTemplate knows.
func BuiltinTemplates() []string {
	names := make([]string, len(builtinTemplates))
	for i, b := range builtinTemplates {
		names[i] = b.name
	}
	return names
}

// BuiltinTemplate returns the template of that name; tokens are the model's special tokens, of which
// bos_token and eos_token are printed (absent ones as nothing).
func BuiltinTemplate(name string, tokens map[string]string) (*Template, error) {
	i := slices.IndexFunc(builtinTemplates, func(b struct{ name, source string }) bool { return b.name == name })
	if i < 0 {
		return nil, fault.Inputf("no chat template %q; choose one of %s", name, strings.Join(BuiltinTemplates(), ", "))
	}
	all := map[string]string{"bos_token": "", "eos_token": ""}
	for key, token := range tokens {
		all[key] = token
	}
	return NewTemplate(name, builtinTemplates[i].source, all)
}
