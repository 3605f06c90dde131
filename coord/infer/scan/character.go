package scan

import (
	"strconv"
	"strings"
)

// character reads a character constant as gcc: of several characters each shifts those before it
// by eight bits. What is not ASCII is left to the compiler.
func (c *condition) character(text string) number {
	prefix, body, _ := strings.Cut(text, "'")
	body, closed := strings.CutSuffix(body, "'")
	var v, n uint32
	for n = 0; len(body) > 0 && closed; n++ {
		b, size := charByte(body)
		if closed = size > 0 && n < 4; closed {
			v, body = v<<8|uint32(b), body[size:]
		}
	}
	narrow := prefix == ""
	if !closed || n == 0 || !narrow && (n > 1 || v >= 0x80 || prefix == "u8") {
		c.fail("the character constant " + clip(text))
		return number{}
	}
	switch {
	case !narrow:
		return number{int64(v), prefix != "L" || c.p.probe.unsignedWide}
	case n == 1 && !c.p.probe.unsignedChar:
		return number{v: int64(int8(v))}
	}
	return number{v: int64(int32(v))}
}

var simpleEscapes = map[byte]byte{'a': 7, 'b': 8, 'f': 12, 'n': 10, 'r': 13, 't': 9, 'v': 11, 'e': 27, '\\': '\\', '\'': '\'', '"': '"', '?': '?'}

// charByte returns the character at the front of s and how many bytes spell it; 0 if that is not
// one of ASCII, nor an escape of one byte.
func charByte(s string) (b byte, size int) {
	if s[0] != '\\' {
		if s[0] >= 0x80 {
			return 0, 0
		}
		return s[0], 1
	}
	if len(s) < 2 {
		return 0, 0
	}
	if e, ok := simpleEscapes[s[1]]; ok {
		return e, 2
	}
	begin, base, digits := 1, 8, 3
	if s[1] == 'x' {
		begin, base, digits = 2, 16, len(s)
	}
	end := begin
	for end < len(s) && end < begin+digits && isHex(s[end]) && (base == 16 || s[end] < '8') {
		end++
	}
	v, err := strconv.ParseUint(s[begin:end], base, 8)
	if err != nil {
		return 0, 0
	}
	return byte(v), end
}

func isHex(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
