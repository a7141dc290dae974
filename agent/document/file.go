package document

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-project/berth/spec"
)

// schema is the only form of the document that this agent understands.
const schema = 1

// Decode reads a document and checks that it is one for the host.
func Decode(b []byte, host string) (*spec.HostDocument, error) {
	var d spec.HostDocument
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("decode host document: %w", err)
	}
	if d.Schema != schema {
		return nil, fmt.Errorf("decode host document: its schema is %d, this agent understands %d", d.Schema, schema)
	}
	if d.Host != host {
		return nil, fmt.Errorf("decode host document: it is for host %q, this is %q", d.Host, host)
	}
	return &d, nil
}

// load reads the kept document; nil without an error means there is none.
func load(file, host string) (*spec.HostDocument, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load host document: %w", err)
	}
	d, err := Decode(b, host)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", file, err)
	}
	return d, nil
}

// sweep removes what a killed predecessor left half written: it holds private keys, too.
func sweep(file string) error {
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), filepath.Base(file)+".*"))
	if err != nil {
		return fmt.Errorf("look for leftovers of the host document: %w", err)
	}
	var errs []error
	for _, path := range left {
		if strings.Trim(strings.TrimPrefix(path, file+"."), "0123456789") != "" {
			continue // not a name of CreateTemp's, but a copy that someone made
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove leftover of the host document: %w", err))
		}
	}
	return errors.Join(errs...)
}

// save replaces the kept document in one step: a reader, and a start after a crash, finds the old or the new one.
func save(file string, body []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("keep host document: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // CreateTemp makes it 0600
	if err != nil {
		return fmt.Errorf("keep host document: %w", err)
	}
	_, err = f.Write(body)
	if err == nil {
		err = f.Sync() // without it a power cut can leave an empty file behind the new name
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("keep host document: %w", err)
	}
	return nil
}
