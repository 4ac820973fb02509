package containers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Build builds crdtd and crdtctl into dir, and returns a directory to make images of. The
// working directory must be inside of this module.
//
// Where there is a C compiler, a static binary is linked of the packages that were
// compiled for tests, which is ten times faster than compiling all of them without
// C, as make image does.
func Build(ctx context.Context, dir string) (root string, err error) {
	root = filepath.Join(dir, "image")
	if err := os.MkdirAll(filepath.Join(root, "var", "lib", "atoll"), 0o755); err != nil {
		return "", fmt.Errorf("containers: %w", err)
	}
	cgo, err := exec.CommandContext(ctx, "go", "env", "CGO_ENABLED").Output()
	if err == nil && cgo[0] == '1' {
		err = build(ctx, root, nil, "-s -w -linkmode external -extldflags=-static")
	}
	if err != nil || cgo[0] != '1' { // such as for lack of a static C library
		err = build(ctx, root, []string{"CGO_ENABLED=0"}, "-s -w")
	}
	if err != nil {
		return "", err
	}
	err = filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err == nil {
			err = os.Chmod(path, 0o755)
		}
		if err == nil {
			err = os.Chtimes(path, time.Unix(0, 0), time.Unix(0, 0))
		}
		return err
	})
	return root, err
}

func build(ctx context.Context, root string, environment []string, flags string) error {
	command := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", root+string(filepath.Separator), "-ldflags", flags,
		"github.com/atolldb/atoll/cmd/crdtd", "github.com/atolldb/atoll/cmd/crdtctl")
	command.Env = append(command.Environ(), environment...)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("containers: go build: %w: %s", err, out)
	}
	return nil
}

// Image makes an image of a directory by the Dockerfile given. Nothing is taken
// from earlier ones. Images with another note differ, and do the same.
func (e *Engine) Image(ctx context.Context, dockerfile, root, tag, note string) error {
	_, err := e.do(ctx, "build", "--quiet", "--no-cache", "--target", "host", "--label", "note="+note, "--label", label+"="+now(),
		"--tag", tag, "--file", dockerfile, root)
	return err
}

// Layers returns the digests of an image's layers.
func (e *Engine) Layers(ctx context.Context, tag string) (string, error) {
	return e.do(ctx, "image", "inspect", "--format", "{{.RootFS.Layers}}", tag)
}
