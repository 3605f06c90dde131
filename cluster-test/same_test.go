package clustertest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ordinary are programs that a graph would run, as users call them. Each writes to its standard
// output, or makes what is called out. They see names.txt, numbers.txt, prog.c and the directory
// tree. What reveals a machine all the same is told to hold still: see package sandbox.
var ordinary = []struct{ tools, script string }{
	{"sort", "sort names.txt"},
	{"uniq sort", "sort names.txt | uniq -c"},
	{"awk", `awk '{n[$1]+=length} END {for (w in n) print w, n[w]}' names.txt`},
	{"sed", "sed -e 's/a/A/g' names.txt"},
	{"grep sort", "grep -rn --include='*.txt' e tree | sort"},
	{"tr cut", "cut -c1-3 names.txt | tr a-z A-Z"},
	{"wc", "wc names.txt numbers.txt"},
	{"paste join", "paste names.txt numbers.txt"},
	{"sha256sum", "sha256sum names.txt prog.c"},
	{"od", "od -c names.txt"},
	{"find sort", "find tree -printf '%p %y %m %U:%G %t\n' | sort"},
	{"ls", "ls -ln names.txt; ls -l tree/sub/deep.txt; ls tree"},
	{"stat", "stat -c '%n %s %A %U %G %y' names.txt; stat -c '%n %A %U %G %y' tree/sub"},
	{"tar", "tar --sort=name -cf out names.txt tree"},
	{"tar gzip", "tar --sort=name -czf out tree"},
	{"gzip", "gzip -c names.txt"},
	{"bzip2", "bzip2 -c names.txt"},
	{"xz", "xz -c names.txt"},
	{"zip", "TZ=UTC zip -qX out names.txt; mv out.zip out"},
	{"gcc", "gcc -g -O2 -c prog.c -o out"},
	{"gcc", "gcc -g -O2 prog.c -o out && ./out"},
	{"gcc ar", "gcc -c prog.c && ar rcs out prog.o"},
	{"gcc strip", "gcc prog.c -o out && strip out"},
	{"make gcc", "printf 'out: prog.c\\n\\t$(CC) -O1 -o $@ $<\\n' >Makefile; make -s CC=gcc"},
	{"python3", `python3 -c 'import json,os,platform,getpass,socket,tempfile; print(json.dumps(sorted(os.environ.items())), os.getcwd(), os.getuid(), platform.node(), getpass.getuser(), socket.gethostname(), tempfile.gettempdir())'`},
	{"python3", `python3 -c 'import zlib,hashlib; d=open("names.txt","rb").read(); print(hashlib.md5(zlib.compress(d*1000)).hexdigest(), 0.1+0.2, 2**0.5)'`},
	{"perl", `perl -ne '$n{$_}++; END { print map {"$_$n{$_}"} sort keys %n; print "$0 $^O @ARGV\n" }' names.txt`},
	{"ffmpeg", "ffmpeg -v error -bitexact -f lavfi -i testsrc=d=0.4:r=5:s=64x64 -c:v mpeg4 -threads 1 -flags +bitexact -fflags +bitexact -f avi out"},
	{"convert", "convert -size 64x64 gradient:red-blue -rotate 30 -resize 50% -strip png:out"},
	{"date", "date -u -d @$SOURCE_DATE_EPOCH; date -r names.txt; date +%Z"},
	{"id", "id; id -un; umask; pwd; echo $HOME $USER $LOGNAME $TMPDIR"},
	{"hostname", "hostname; cat /proc/sys/kernel/hostname 2>/dev/null || echo hidden"},
	{"uname", "uname -n -s -m -o"},
	{"env sort", "env | sort"},
	{"mktemp", "f=$(mktemp); echo x >$f; test -s $f && echo ${f%/*}"},
	{"bash", "bash -c 'RANDOM=7; echo $RANDOM $RANDOM $BASH_SUBSHELL $PPID $$'"},
	{"ps", "ps -eo pid,ppid,uid,comm 2>/dev/null || echo no ps"},
	{"seq xargs echo", "seq 50 | xargs -n 7 echo"},
	{"diff", "diff names.txt numbers.txt || true"},
	{"git", "git init -q r && git -C r -c user.name=a -c user.email=b commit -q --allow-empty -m x && git -C r rev-parse HEAD"},
}

// sameGraph makes a graph of the programs that are here, with one root for all, and says how many
// are not.
func sameGraph(t *testing.T) (graph []byte, tasks int) {
	type task struct {
		Inputs  []string          `json:"inputs"`
		Env     map[string]string `json:"env"`
		Shell   string            `json:"shell"`
		Outputs []string          `json:"outputs"`
	}
	all, targets, have, lacks := map[string]task{}, map[string]string{}, []string{"sh", "cat", "mv"}, []string(nil)
	for i, p := range ordinary {
		tools := strings.Fields(p.tools)
		if k := slices.IndexFunc(tools, func(tool string) bool { _, err := exec.LookPath(tool); return err != nil }); k >= 0 {
			lacks = append(lacks, tools[k])
			continue
		}
		for _, tool := range tools {
			if !slices.Contains(have, tool) {
				have = append(have, tool)
			}
		}
		name := fmt.Sprintf("%02d-%s", i, strings.ReplaceAll(p.tools, " ", "-"))
		all[name] = task{Inputs: []string{"names.txt", "numbers.txt", "prog.c", "tree"}, Shell: p.script + "\ntest -e out || echo none >out",
			// git's commits have the time of the day otherwise.
			Env: map[string]string{"GIT_COMMITTER_DATE": "@0 +0000", "GIT_AUTHOR_DATE": "@0 +0000"}, Outputs: []string{"out", "stdout"}}
		targets[name] = "@" + name + "/stdout"
	}
	if len(lacks) > 0 {
		t.Logf("not installed, so not compared: %s", strings.Join(lacks, " "))
	}
	b, err := json.Marshal(map[string]any{"gaggle": 1, "defaults": map[string]any{"tools": have}, "tasks": all, "targets": targets})
	if err != nil {
		t.Fatal(err)
	}
	return b, len(all)
}

// Ordinary programs give the same on two nodes that have little in common. The second one runs as
// an ordinary user, on one core, with its state in memory:
//
//	hub   first (root, all cores, disk)   second (uid 65533, one core, tmpfs)   anna
//	 |      |                                |                                   |
//	 +------+-------------------br0----------+-----------------------------------+
func TestProgramsGiveTheSameEverywhere(t *testing.T) {
	for _, tool := range []string{"taskset", "setpriv"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing: apt-get install util-linux", tool)
		}
	}
	m := NewMesh(t, bin, 0, 0)
	first, _ := m.AddNode("first", 2)
	second := m.Lab.Host("second")
	state := memoryDir(t)
	other := second.Start("taskset", "-c", "0", "setpriv", "--reuid", "65533", "--regid", "65533", "--clear-groups",
		"env", "HOME="+state, filepath.Join(bin, "node"), "--join", m.Ticket, "--slots", "1", "--state", filepath.Join(state, "node"))
	other.WaitLog("joined")
	if onDisk, inMemory := fileSystem(t, first.Dir), fileSystem(t, state); onDisk == inMemory {
		t.Logf("both nodes have their state on a file system of kind %x", onDisk)
	}
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	WriteFiles(t, dir, map[string]string{
		"names.txt": strings.Repeat("anna ben\ncarl\nanna\ndora émile\n", 20), "numbers.txt": "1\n22\n333\n",
		"prog.c":     "#include <stdio.h>\nint main(void) { printf(\"%s %s %d %s\\n\", __FILE__, \"built\", __LINE__, __VERSION__); return 0; }\n",
		"tree/a.txt": "one\n", "tree/b.txt": "two\n", "tree/sub/deep.txt": "three\n", "tree/z.txt": strings.Repeat("z", 30_000),
	})
	graph, tasks := sameGraph(t)
	if tasks < 30 {
		t.Skipf("only %d of the programs are installed: scripts/needs", tasks)
	}
	if err := os.WriteFile(filepath.Join(dir, "same.json"), graph, 0o600); err != nil {
		t.Fatal(err)
	}
	o := anna.Try("env", "-C", dir, "coord", "submit", "-k", "--check-determinism", "same.json", "--out", "out")
	if o.Exit != 0 {
		t.Errorf("exit %d\n%s%s", o.Exit, o.Stdout, o.Stderr)
	}
	ran := m.ran(anna)
	t.Logf("%d tasks, run by %v, %s", tasks, ran, o.Took.Round(time.Second))
	if ran["first"] < tasks || ran["second"] < tasks {
		t.Errorf("the nodes ran %v thunks, want %d on each", ran, tasks)
	}
	// What a person sees of such a task, on a third machine, is what the nodes have computed.
	for _, name := range []string{"25-python3", "33-env-sort", "31-hostname"} {
		want := readFile(t, filepath.Join(dir, "out", name))
		if got := anna.Try("coord", "shell", name, "--", "sh", "-euc", ordinary[index(t, name)].script); got.Stdout != want {
			t.Errorf("coord shell %s gives %q, want %q\n%s", name, got.Stdout, want, got.Stderr)
		}
	}
}

func index(t *testing.T, name string) (i int) {
	if _, err := fmt.Sscanf(name, "%d-", &i); err != nil {
		t.Fatal(err)
	}
	return i
}

// memoryDir returns a directory in memory that belongs to the ordinary user of the test.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "gaggle-same")
	if err != nil {
		t.Skip("no /dev/shm: ", err)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("rm", "-rf", dir).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	if err := os.Chown(dir, 65533, 65533); err != nil {
		t.Fatal(err)
	}
	return dir
}

func fileSystem(t *testing.T, dir string) int64 {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	return fs.Type
}

// inNodes finds in what coord nodes prints the name of a node and how many thunks it has run.
var inNodes = regexp.MustCompile(`(?m)^(\S+) .*?\d+/\d+ +[\d.]+ \S+ +[\d.]+ \S+(?: of [\d.]+ \S+)? +(\d+) `)

// ran returns how many thunks each node has run.
func (m *Mesh) ran(from *Host) map[string]int {
	m.Lab.t.Helper()
	ran := map[string]int{}
	for _, f := range inNodes.FindAllStringSubmatch(from.Run("coord", "nodes"), -1) {
		n, err := strconv.Atoi(f[2])
		if err != nil {
			m.Lab.t.Fatal(err)
		}
		ran[f[1]] = n
	}
	return ran
}
