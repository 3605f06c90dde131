package clustertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The encoders of examples/video tell their neighbours over a network of their own, on three machines,
// and give the film that they give when they leave each other files:
//
//	hub   n1 (2 slots)   n2 (1 slot)   n3 (1 slot)   anna
//	 |      |              |              |             |
//	 +------+--------------+------br0-----+-------------+
func TestVideoByNetworkAndByFiles(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 0, 0)
	for _, tool := range []string{"ffmpeg", "nc", "python3"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing: scripts/needs installs it", tool)
		}
	}
	m.AddNode("n1", 2, "--trusted-cidr", "10.77.0.0/16") // packets between these two go by the kernel
	m.AddNode("n2", 1, "--trusted-cidr", "10.77.0.0/16")
	m.AddNode("n3", 1)
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	if err := os.CopyFS(dir, os.DirFS("../examples/video")); err != nil {
		t.Fatal(err)
	}
	film := exec.Command("ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=duration=8:size=160x90:rate=25,noise=alls=12:allf=t:enable='gt(t,5)'",
		"-c:v", "mpeg4", "-q:v", "2", "-g", "25", "-threads", "1", filepath.Join(dir, "film.mkv"))
	if out, err := film.CombinedOutput(); err != nil {
		t.Fatalf("making a film: %v\n%s", err, out)
	}

	// So little that the third chunk takes more than its share of 260 kbit, and the last all there is.
	byNetwork, events := anna.Submit(dir, "--out", "network", "-p", "chunks=4", "-p", "chunk=2", "-p", "rate=130", "-p", "buffer=520", "network.yaml")
	if shares := Shares(events); len(shares) != 3 {
		t.Errorf("the encoders ran on %v, want all three nodes", shares)
	}
	graph, err := exec.Command(filepath.Join(dir, "files.py"), "4", "2", "26", "130", "520").Output()
	if err != nil {
		t.Fatal("files.py: ", err)
	}
	told := strings.Replace(string(graph), `"targets": {`, `"targets": {"gets": "@share-3/gets", `, 1)
	WriteFiles(t, dir, map[string]string{"files.json": told})
	byFiles, _ := anna.Submit(dir, "--out", "files", "files.json")
	t.Logf("by network: %d tasks in %.2f s, %d B moved; by files: %d tasks in %.2f s, %d B moved",
		byNetwork.Ran, byNetwork.Wall, byNetwork.Moved, byFiles.Ran, byFiles.Wall, byFiles.Moved)
	if byNetwork.Ran != 10 || byFiles.Ran != 12 { // the film is split, and joined, once
		t.Errorf("%d tasks ran by network and %d by files, want 10 and 12", byNetwork.Ran, byFiles.Ran)
	}
	if readFile(t, filepath.Join(dir, "network/film.mp4")) != readFile(t, filepath.Join(dir, "files/film.mp4")) {
		t.Error("the film by network is another than that by files")
	}
	if gets := strings.TrimSpace(readFile(t, filepath.Join(dir, "files/gets"))); gets == "260" {
		t.Error("the last chunk has its share and nothing of what those before it left: nobody needed to be told")
	}
}
