package supervisor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
)

// Describe starts a plugin binary, asks for its manifest and stops it again, without
// configuring it and outside of any running supervisor. Only the logger, the versions,
// the timeouts and the verifier of the options are used. A failed start is a
// [*StartError].
func Describe(ctx context.Context, path string, opts Options) (*Manifest, error) {
	opts = opts.withDefaults()
	b := newBinary(path)
	if b.err != nil {
		return nil, b.err
	}
	dir, err := os.MkdirTemp("", "tasker")
	if err != nil {
		return nil, fmt.Errorf("describe plugin: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := checkRunDir(dir); err != nil {
		return nil, err
	}
	opts.DataDir = filepath.Join(dir, "data")
	f := newForker()
	var forking sync.WaitGroup
	forking.Go(f.run)
	defer forking.Wait()
	defer f.stop()

	log := newPluginLog(dir, "describe", func(err error) { opts.Logger.Error("plugin output is not kept", logkeys.Error, err) })
	defer log.close()
	l := launcher{opts: opts, forker: f, run: &runDir{path: dir}}.newLaunch(Binary{Path: b.path}, "describe", "describe#1", grant{}, log)
	ctx, cancel := context.WithTimeout(ctx, opts.startTimeout(b.name))
	defer cancel()
	defer context.AfterFunc(ctx, l.process.kill)()
	m, err := describeOnce(ctx, l)
	if err == nil {
		l.stop(opts.StopGrace)
	}
	l.release()
	if err != nil {
		return nil, l.failure(ctx, err)
	}
	return m, nil
}

func describeOnce(ctx context.Context, l *launch) (*Manifest, error) {
	if err := l.connect(ctx); err != nil {
		return nil, err
	}
	return l.describe(ctx)
}
