// Words prints a graph that counts the words of the files it is given, each in a task of its own.
package main

import (
	"fmt"
	"log"
	"os"

	"gaggle/coord/sdk"
)

func main() {
	g := sdk.New(os.Stdout, sdk.Header{Defaults: sdk.Settings{Tools: []string{"cat", "awk"}}})
	sum := sdk.Task{At: map[string]sdk.Ref{}, Shell: "cat counts/* | awk '{n += $1} END {print n}'", Outputs: []string{"stdout"}}
	for i, file := range os.Args[1:] {
		count := g.Task(fmt.Sprintf("count-%d", i), sdk.Task{Run: []string{"wc", "-w"}, Stdin: sdk.File(file), Outputs: []string{"stdout"}})
		sum.At[fmt.Sprintf("counts/%d", i)] = count.Output("stdout")
	}
	g.Target("words.txt", g.Task("sum", sum).Output("stdout"))
	if err := g.Close(); err != nil {
		log.Fatal(err)
	}
}
