package kubetest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	_ "embed" // the definition of RayClusters
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

//go:embed testdata/ray.io_rayclusters-v1.7.0.yaml.gz
var definition []byte

const definitionDigest = "c44704442eef0c6721ad40c1d66782c8bd3fdab9d3344306a5820910a679baa1" // of testdata/README.md

// Schema checks RayClusters as an API server with KubeRay's definition does, unknown fields
// refused: by the API server's own code.
type Schema struct {
	structural *schema.Structural
	validator  validation.SchemaValidator
}

// NewSchema reads KubeRay's definition.
func NewSchema() (*Schema, error) {
	z, err := gzip.NewReader(bytes.NewReader(definition))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	if got := sha256.Sum256(data); hex.EncodeToString(got[:]) != definitionDigest {
		return nil, fmt.Errorf("KubeRay's definition has digest %x", got)
	}
	return ReadSchema(data)
}

// ReadSchema reads a definition of RayClusters, as YAML, such as that of another version of KubeRay.
func ReadSchema(data []byte) (*Schema, error) {
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(data, &crd); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return v.Name == "v1"
	})
	if i < 0 {
		return nil, errors.New("KubeRay's definition has no version v1")
	}
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
		crd.Spec.Versions[i].Schema.OpenAPIV3Schema, &internal, nil); err != nil {
		return nil, err
	}
	s, err := schema.NewStructural(&internal)
	if err != nil {
		return nil, err
	}
	v, _, err := validation.NewSchemaValidator(&internal)
	if err != nil {
		return nil, err
	}
	return &Schema{s, v}, nil
}

// Problems lists what the API server would refuse. unknown are those that it finds while it
// decodes; the others come after.
func (s *Schema) Problems(ctx context.Context, doc []byte) (unknown, others []string, err error) {
	var obj map[string]any
	if err := yaml.UnmarshalStrict(doc, &obj); err != nil {
		return nil, nil, err
	}
	data, err := json.Marshal(obj) // the JSON types of the API's machinery
	if err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(data, &obj); err != nil {
		return nil, nil, err
	}
	for _, p := range pruning.PruneWithOptions(obj, s.structural, true,
		schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		unknown = append(unknown, fmt.Sprintf("unknown field %q", p))
	}
	defaulting.Default(obj, s.structural)
	for _, e := range validation.ValidateCustomResource(nil, obj, s.validator) {
		others = append(others, e.Error())
	}
	if v := cel.NewValidator(s.structural, true, celconfig.PerCallLimit); v != nil {
		errs, _ := v.Validate(ctx, nil, s.structural, obj, nil, celconfig.RuntimeCELCostBudget)
		for _, e := range errs {
			others = append(others, e.Error())
		}
	}
	return unknown, others, nil
}
