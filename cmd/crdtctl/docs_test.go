package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// documented is a command line, also by the short name that examples/geo gives it.
	documented = regexp.MustCompile("(?:^|[`\\s(;])(?:crdtctl|at [a-z]+-[0-9]) ([^`#&|;$\\n]+)")
	codeSpan   = regexp.MustCompile("`([^`]+)`")
)

// TestDocumentedCommands takes every command line in the documents apart as it would
// be if somebody typed it.
func TestDocumentedCommands(t *testing.T) {
	var names []string
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../examples/*/README.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	checked := 0
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var commands []string
		inTable := false // of what crdtctl does: each row begins with commands
		for line := range strings.Lines(string(text)) {
			for _, found := range documented.FindAllStringSubmatch(line, -1) {
				commands = append(commands, found[1])
			}
			if inTable = strings.HasPrefix(line, "| `crdtctl` |") || inTable && strings.HasPrefix(line, "|"); !inTable {
				continue
			}
			parent := ""
			for _, found := range codeSpan.FindAllStringSubmatch(strings.Split(strings.ReplaceAll(line, "\\|", ""), "|")[1], -1) {
				switch words := strings.Fields(found[1]); {
				case words[0] == "crdtctl":
				case exists(words[0]):
					parent = words[0]
					commands = append(commands, found[1])
				default: // the rest of "`counter incr`, `get`"
					commands = append(commands, parent+" "+found[1])
				}
			}
		}
		for _, command := range commands {
			checked++
			words := strings.Fields(strings.NewReplacer("[", "", "]", "", "'", "", `"`, "").Replace(command))
			_, err := arrange(app(strings.NewReader(""), io.Discard, io.Discard), append([]string{"crdtctl"}, words...))
			if err != nil && !strings.Contains(err.Error(), "needs a value") && !strings.Contains(err.Error(), "takes a command") {
				t.Errorf("%s: crdtctl %s: %v", name, command, err)
			}
		}
	}
	if checked < 50 {
		t.Errorf("found %d commands only", checked)
	}
}

func exists(command string) bool {
	for _, c := range app(strings.NewReader(""), io.Discard, io.Discard).Commands {
		if c.HasName(command) {
			return true
		}
	}
	return false
}
