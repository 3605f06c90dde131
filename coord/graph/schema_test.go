package graph

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The examples of the documentation.
const (
	gangExample = `{"gaggle":1,"tasks":{
 "db":{"gang":"b","network":"overlay","service":true,"ready":{"tcp":6379},"tools":["redis-server"],"run":["redis-server","--bind","0.0.0.0","--save",""]},
 "load":{"gang":"b","network":"overlay","count":8,"tools":["redis-benchmark"],"run":["redis-benchmark","-h","db","-n","10000","--csv"],"outputs":["stdout"]}},
 "targets":{"bench/":"@load/stdout"}}`
	fibExample = `{"gaggle":1,"tasks":{"fib":{"inputs":["fib.sh"],"tools":["sh","cat"],"run":["./fib.sh","40"],"outputs":[{"path":"value","graph":"next.json"}]}},"targets":{"fib40":"@fib/value"}}`
	subExample = `{"gaggle":1,"tasks":{
 "a":{"inputs":["@parent/fib.sh"],"run":["./fib.sh","39"],"outputs":[{"path":"value","graph":"next.json"}]},
 "b":{"inputs":["@parent/fib.sh"],"run":["./fib.sh","38"],"outputs":[{"path":"value","graph":"next.json"}]},
 "sum":{"inputs":{"a":"@a/value","b":"@b/value"},"shell":"echo $(($(cat a)+$(cat b))) > value","outputs":["value"]}},
 "targets":{"value":"@sum/value"}}`
)

// What decodes fits the schema.
func TestSchemaAcceptsWhatDecodes(t *testing.T) {
	texts := map[string]string{"map reduce": mapReduce, "gang": gangExample, "fib": fibExample, "sub-graph": subExample}
	for _, pattern := range []string{"testdata/expand/*.txt", "../../examples/*/graph.*"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("no files %s: %v", pattern, err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			text, _, _ := strings.Cut(string(b), "\n----\n")
			texts[name] = text
		}
	}
	schema := decodedSchema(t)
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			if _, err := Decode(strings.NewReader(text), name); err != nil {
				t.Fatal(err)
			}
			if err := fits(schema, plain(t, text), "$"); err != nil {
				t.Errorf("does not fit the schema: %v", err)
			}
		})
	}
}

// What the schema refuses does not decode.
func TestSchemaRefuses(t *testing.T) {
	schema := decodedSchema(t)
	for name, text := range map[string]string{
		"unknown key":   `{"gaggle":1,"tasks":{"t":{"run":["a"],"outptus":["o"],"outputs":["o"]}},"targets":{"o":"@t/o"}}`,
		"no targets":    `{"gaggle":1,"tasks":{"t":{"run":["a"],"outputs":["o"]}}}`,
		"version":       `{"gaggle":2,"tasks":{"t":{"run":["a"],"outputs":["o"]}},"targets":{"o":"@t/o"}}`,
		"two commands":  `{"gaggle":1,"tasks":{"t":{"run":["a"],"shell":"a","outputs":["o"]}},"targets":{"o":"@t/o"}}`,
		"two sources":   `{"gaggle":1,"tasks":{"t":{"for":{"x":{"glob":"*","lines":"l"}},"run":["a"],"outputs":["o"]}},"targets":{"o":"@t/o"}}`,
		"task name":     `{"gaggle":1,"tasks":{"t t":{"run":["a"],"outputs":["o"]}},"targets":{"o":"@t/o"}}`,
		"retries":       `{"gaggle":1,"tasks":{"t":{"retries":11,"run":["a"],"outputs":["o"]}},"targets":{"o":"@t/o"}}`,
		"kind of tools": `{"gaggle":1,"tasks":{"t":{"tools":"a","run":["a"],"outputs":["o"]}},"targets":{"o":"@t/o"}}`,
		"network":       `{"gaggle":1,"tasks":{"t":{"network":"host","run":["a"],"outputs":["o"]}},"targets":{"o":"@t/o"}}`,
		"timeout":       `{"gaggle":1,"tasks":{"t":{"timeout":60,"run":["a"],"outputs":["o"]}},"targets":{"o":"@t/o"}}`,
		"no outputs":    `{"gaggle":1,"tasks":{"t":{"run":["a"]}},"targets":{"o":"@t/o"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := fits(schema, plain(t, text), "$"); err == nil {
				t.Errorf("fits the schema")
			}
			if _, err := Decode(strings.NewReader(text), "-"); err == nil {
				t.Errorf("decodes")
			}
		})
	}
}

func TestSchemaIsStable(t *testing.T) {
	if a, b := Schema(), Schema(); string(a) != string(b) {
		t.Errorf("two schemas differ")
	}
}

func decodedSchema(t *testing.T) map[string]any {
	t.Helper()
	var s map[string]any
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// plain reads a graph text as encoding/json would have it.
func plain(t *testing.T, text string) any {
	t.Helper()
	n, err := parse([]byte(text), "-")
	if err != nil {
		t.Fatal(err)
	}
	return n.plain()
}

func (n *node) plain() any {
	switch n.kind {
	case boolean:
		return n.text == "true"
	case number:
		f, _ := strconv.ParseFloat(n.text, 64)
		return f
	case str:
		return n.text
	case list:
		l := []any{}
		for i := range n.kids {
			l = append(l, n.kids[i].plain())
		}
		return l
	case object:
		o := map[string]any{}
		for i := range n.kids {
			o[n.keys[i].name] = n.kids[i].plain()
		}
		return o
	}
	return nil
}

// fits checks v against the keywords of JSON Schema that Schema uses; another is an error.
func fits(schema map[string]any, v any, at string) error {
	obj, isObj := v.(map[string]any)
	arr, isArr := v.([]any)
	text, isStr := v.(string)
	num, isNum := v.(float64)
	sub := func(s any, v any, at string) error { return fits(s.(map[string]any), v, at) }
	for keyword, arg := range schema {
		bad := false
		switch keyword {
		case "$schema", "title", "description":
		case "type":
			bad = !hasType(arg, v)
		case "const":
			bad = !reflect.DeepEqual(arg, v)
		case "enum":
			bad = !slices.Contains(arg.([]any), v)
		case "pattern":
			bad = isStr && !regexp.MustCompile(arg.(string)).MatchString(text)
		case "minimum":
			bad = isNum && num < arg.(float64)
		case "maximum":
			bad = isNum && num > arg.(float64)
		case "minItems":
			bad = isArr && len(arr) < int(arg.(float64))
		case "maxItems":
			bad = isArr && len(arr) > int(arg.(float64))
		case "items":
			for i, e := range arr {
				if err := sub(arg, e, fmt.Sprintf("%s[%d]", at, i)); err != nil {
					return err
				}
			}
		case "required":
			for _, k := range arg.([]any) {
				_, ok := obj[k.(string)]
				bad = bad || isObj && !ok
			}
		case "properties":
			for k, s := range arg.(map[string]any) {
				if e, ok := obj[k]; ok {
					if err := sub(s, e, at+"."+k); err != nil {
						return err
					}
				}
			}
		case "additionalProperties":
			props, _ := schema["properties"].(map[string]any)
			for k, e := range obj {
				if _, known := props[k]; known {
					continue
				}
				if arg == false {
					return fmt.Errorf("%s.%s is not known", at, k)
				}
				if err := sub(arg, e, at+"."+k); err != nil {
					return err
				}
			}
		case "propertyNames":
			for k := range obj {
				if err := sub(arg, k, at+"."+k); err != nil {
					return err
				}
			}
		case "anyOf", "oneOf":
			n, last := 0, error(nil)
			for _, s := range arg.([]any) {
				if err := sub(s, v, at); err != nil {
					last = err
				} else {
					n++
				}
			}
			if n == 0 || keyword == "oneOf" && n != 1 {
				return fmt.Errorf("%s: %d of %s fit: %w", at, n, keyword, last)
			}
		default:
			return fmt.Errorf("%s: keyword %q is not known to this test", at, keyword)
		}
		if bad {
			return fmt.Errorf("%s: %v is not %s %v", at, v, keyword, arg)
		}
	}
	return nil
}

func hasType(arg, v any) bool {
	if names, ok := arg.([]any); ok {
		return slices.ContainsFunc(names, func(n any) bool { return hasType(n, v) })
	}
	switch v := v.(type) {
	case map[string]any:
		return arg == "object"
	case []any:
		return arg == "array"
	case string:
		return arg == "string"
	case bool:
		return arg == "boolean"
	case float64:
		return arg == "number" || arg == "integer" && v == math.Trunc(v)
	}
	return false
}
