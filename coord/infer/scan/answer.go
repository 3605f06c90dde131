package scan

import (
	"context"
	"fmt"
	"maps"
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
	p.probe.ask(p.ctx, p.scanner.questions(question))
	p.scanner.keep(p.probe)
	v, _, ok := p.probe.known(question)
	return v, ok
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
	questions = slices.DeleteFunc(questions, func(q string) bool { _, asked, _ := p.known(q); return asked })
	var text strings.Builder
	for i, q := range questions {
		fmt.Fprintf(&text, "#if !(%s)\ngaggle:%d:0\n#endif\n#if (%s) >> %d\n#elif (%s)\n", q, i, q, answerBits, q)
		for bit := range answerBits {
			fmt.Fprintf(&text, "#if (%s) & %d\ngaggle:%d:%d\n#endif\n", q, 1<<bit, i, 1<<bit)
		}
		text.WriteString("#endif\n")
	}
	out, _, _ := p.preprocess(ctx, text.String()) // it fails for questions that are none
	if ctx.Err() != nil {
		return
	}
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
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range questions {
		if _, ok := answers[q]; !ok {
			p.unknown[q] = true
		}
	}
	maps.Copy(p.Answers, answers)
}
