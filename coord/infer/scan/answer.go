package scan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// answer has the compiler say what __has_builtin(...) or one of its like is. An answer is kept
// with the probe; one run of the compiler asks all that any flags were ever asked.
func (p *pass) answer(operator string, operand []token) (int64, bool) {
	const longest = 256
	question := operator + "(" + spell(operand) + ")"
	if len(question) > longest || strings.ContainsFunc(question, func(r rune) bool { return r < ' ' || r > '~' }) {
		return 0, false
	}
	if v, asked, ok := p.probe.known(question); asked {
		return v, ok
	}
	p.probe.ask(p.ctx, append(p.scanner.questions(question), p.c.hinted()...))
	p.scanner.keep(p.probe)
	v, _, ok := p.probe.known(question)
	return v, ok
}

// hint matches what a condition is about to ask, by its own macro or the compiler's, such as
// _GLIBCXX_HAS_BUILTIN(__builtin_launder). Asked with others such a question costs nothing.
var hint = regexp.MustCompile(`(?i)has_(builtin|attribute|cpp_attribute|feature|extension)\s*\(\s*(\w+)\s*\)`)

// hints returns the questions that a condition's text hints at.
func hints(text string) (questions []string) {
	for _, m := range hint.FindAllStringSubmatch(text, -1) {
		questions = append(questions, "__has_"+strings.ToLower(m[1])+"("+m[2]+")")
	}
	return questions
}

// known returns an answer, whether the question was asked, and whether it had an answer.
func (p *probe) known(question string) (v int64, asked, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v, ok = p.Answers[question]
	return v, ok || p.unknown[question] || len(p.Answers)+len(p.unknown) > maxAnswers, ok
}

// answerBits is how large an answer may be: they are dates such as 202106.
const answerBits = 20

// ask puts those questions to the compiler that it was not asked yet.
func (p *probe) ask(ctx context.Context, questions []string) {
	slices.Sort(questions)
	questions = slices.DeleteFunc(slices.Compact(questions), func(q string) bool { _, asked, _ := p.known(q); return asked })
	var text strings.Builder
	for i, q := range questions {
		poll(&text, i, q)
	}
	out, _, err := p.preprocess(ctx, text.String())
	var exit *exec.ExitError // as for questions that are none
	if err != nil && (!errors.As(err, &exit) || !exit.Exited()) {
		return // to be asked again
	}
	answers := polled(out, questions)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range questions {
		if _, ok := answers[q]; !ok {
			p.unknown[q] = true
		}
	}
	maps.Copy(p.Answers, answers)
}

// poll writes a text that tells the answer to question i, bit by bit.
func poll(text *strings.Builder, i int, q string) {
	fmt.Fprintf(text, "#if !(%s)\ngaggle:%d:0\n#endif\n#if (%s) >> %d\n#elif (%s)\n", q, i, q, answerBits, q)
	for bit := range answerBits {
		fmt.Fprintf(text, "#if (%s) & %d\ngaggle:%d:%d\n#endif\n", q, 1<<bit, i, 1<<bit)
	}
	text.WriteString("#endif\n")
}

// polled reads what a preprocessed poll says.
func polled(out string, questions []string) map[string]int64 {
	answers := map[string]int64{}
	for line := range strings.SplitSeq(out, "\n") {
		parts := strings.Split(line, ":")
		if len(parts) != 3 || parts[0] != "gaggle" {
			continue
		}
		i, err1 := strconv.Atoi(parts[1])
		v, err2 := strconv.ParseInt(parts[2], 10, 64)
		if err1 == nil && err2 == nil && i >= 0 && i < len(questions) {
			answers[questions[i]] |= v
		}
	}
	return answers
}

// harmless returns the questions that no compiler complains of which has the operator.
func harmless(questions []string) []string {
	return slices.DeleteFunc(questions, func(q string) bool {
		return hint.FindString(q) != strings.TrimPrefix(q, "__")
	})
}
