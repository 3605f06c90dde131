package client

import "testing"

func TestPlainScript(t *testing.T) {
	for script, plain := range map[string]bool{
		"gcc -c a.c && mv a.o b.o":                true,
		"cd sub && CPATH=x gcc -c a.c; echo done": true,
		"(cd sub; /usr/bin/gcc-12 -c a.c)":        true,
		"ar cr t.a a.o \\\n b.o; ranlib t.a":      true,
		"gcc -c a.c; touch done":                  false,
		"cd sub && make all":                      true,
		`printf 'CC\n' 1>&2;gcc -c a.c`:           true,
		"rm -f a.o >/dev/null 2>&1; gcc -c a.c":   true,
		"gcc -c a.c >&21":                         false,
		"echo a >&2>b; gcc -c a.c":                false,
		"make -C sub || exit 1":                   false,
		"gcc -c a.c; r=$?":                        false,
		"gcc -c a.c; r=${?}":                      false,
		"gcc -c a.c || echo no":                   false,
		"if gcc -c a.c; then echo yes; fi":        false,
		"gcc -c a.c; [ -f a.o ] && echo yes":      false,
		"gcc -c a.c; test -f a.o":                 false,
		"! gcc -c a.c":                            false,
		"gcc -c a.c 2>log":                        false,
		"gcc -c a.c & wait":                       false,
		"gcc -c a.c | cat":                        false,
		"x=`gcc -c a.c`":                          false,
		"set +e; gcc -c a.c":                      false,
		"gcc -c a.c; stat -c %s a.o":              false,
		"case a in a) gcc -c a.c;; esac":          false,
		"eval gcc -c a.c":                         false,
		"nice gcc -c a.c":                         false,
	} {
		if got := plainScript(script); got != plain {
			t.Errorf("%q: plain is %v", script, got)
		}
	}
}

func TestWritesNothing(t *testing.T) {
	for script, want := range map[string]bool{
		"for d in a b; do make -C $d || exit 1; done": true,
		"make -C sub >/dev/null 2>&1 && touch x":      true,
		"make -C sub || echo no >&2":                  true,
		"make -C sub && echo yes > x":                 false,
		"make -C sub; read x < y":                     false,
		"make -C sub 2> log":                          false,
	} {
		if got := writesNothing(script); got != want {
			t.Errorf("%q: writes nothing is %v", script, got)
		}
	}
}
