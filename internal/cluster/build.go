package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Build builds crdtd into dir and returns its path. The working directory
// must be inside of this module. With race the program watches for data races
// and logs them.
func Build(ctx context.Context, dir string, race bool) (string, error) {
	path := filepath.Join(dir, "crdtd")
	args := []string{"build", "-buildvcs=false", "-o", path}
	if race {
		args = append(args, "-race")
	}
	build := exec.CommandContext(ctx, "go", append(args, "github.com/atolldb/atoll/cmd/crdtd")...)
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cluster: %s: %w: %s", build, err, output)
	}
	return path, nil
}
