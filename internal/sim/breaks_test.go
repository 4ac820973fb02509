package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// switchFile is added to every package that is broken. Nothing of it is in any
// other build: the breaks are patches of copies, laid over the source.
const switchFile = `package %s

import "os"

var theBreak = os.Getenv("ATOLL_BREAK")

func broken(name string) bool { return name == theBreak }
`

// buildBroken builds this package's tests with all breaks in it, each of which
// waits for its name in the environment.
func buildBroken(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	texts := map[string]string{}
	for _, b := range slices.Concat(breaks, panics) {
		for _, p := range b.patches {
			if texts[p.file] == "" {
				source, err := os.ReadFile(filepath.Join(root, p.file))
				if err != nil {
					t.Fatal(err)
				}
				texts[p.file] = string(source)
				pkg := filepath.Dir(p.file)
				texts[filepath.Join(pkg, "broken.go")] = fmt.Sprintf(switchFile, filepath.Base(pkg))
			}
			if strings.Count(texts[p.file], p.old) != 1 {
				t.Errorf("%s: %q occurs %d times in %s; the break must follow the code", b.name, p.old, strings.Count(texts[p.file], p.old), p.file)
			}
			texts[p.file] = strings.Replace(texts[p.file], p.old, p.new, 1)
		}
	}
	replace := map[string]string{}
	for file, text := range texts {
		path := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root, file)] = path
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "sim.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", path, "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the breaks: %v\n%s", err, out)
	}
	return binary
}

// told is where output tells how a history is replayed.
var told = regexp.MustCompile(`go test \./internal/sim -run 'TestSeed\$' -v [-a-z0-9 ]+`)

// A panic of the engine tells the command that replays it. One that meets a caller
// fails its seed and no more: the history is cut down.
func testPanics(t *testing.T, binary string) {
	for _, b := range panics {
		t.Run(b.name, func(t *testing.T) {
			play := func(arguments ...string) string {
				run := exec.CommandContext(t.Context(), binary, arguments...)
				run.Env = append(os.Environ(), "ATOLL_BREAK="+b.name)
				out, err := run.CombinedOutput()
				if err == nil || !strings.Contains(string(out), "as the test wants") {
					t.Fatalf("%v: %v\n%s", arguments, err, out)
				}
				return string(out)
			}
			first := play(append([]string{"-test.run=^TestSeeds$", fmt.Sprint("-seeds=", b.within)}, b.flags...)...)
			command := told.FindString(first)
			if command == "" {
				t.Fatalf("it is not told how to replay it:\n%s", first)
			}
			t.Log(command)
			again := play(testFlags(strings.Fields(command))...)
			if told.FindString(again) != command {
				t.Errorf("to replay it is told to be\n%s\nand then\n%s", command, told.FindString(again))
			}
			if cut := strings.Contains(again, "cut down to"); cut != (b.name == "panic-handler") {
				t.Errorf("it was cut down: %v\n%s", cut, again)
			}
		})
	}
}

// TestBreaks breaks one rule after the other, and demands that the simulator
// finds each of them within the seeds that are stated.
func TestBreaks(t *testing.T) {
	if testing.Short() || underRace {
		t.Skip("takes its time, and finds nothing else with the race detector")
	}
	binary := buildBroken(t)
	testPanics(t, binary)
	found := regexp.MustCompile(`seed (\d+): .*`)
	for _, b := range breaks {
		t.Run(b.name, func(t *testing.T) {
			if b.within > 100 && !*deep {
				t.Skip("takes -deep")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
			defer cancel()
			arguments := append([]string{"-test.run=^TestSeeds$", fmt.Sprint("-seeds=", b.within), "-rot=0", "-placed=0"}, b.flags...)
			run := exec.CommandContext(ctx, binary, arguments...)
			run.Env = append(os.Environ(), "ATOLL_BREAK="+b.name)
			began := time.Now()
			out, err := run.CombinedOutput()
			if err == nil {
				t.Fatalf("not found in %d seeds: %s", b.within, b.rule)
			}
			line := found.FindString(string(out))
			if line == "" {
				line = string(out[:min(len(out), 1500)])
			}
			t.Logf("%v: %s: %.200s", time.Since(began).Round(100*time.Millisecond), b.rule, line)
		})
	}
}
