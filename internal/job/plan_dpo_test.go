package job_test

import (
	"context"
	"testing"

	"salsa/internal/job"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPlanDPO(t *testing.T) {
	dir := planWorld(t, 4)
	o := job.DefaultDPO()
	o.Model, o.Reference, o.Data.Data, o.BatchSize, o.Device = dir+"/lm", dir+"/lm,"+dir+"/lm", []string{dir + "/pairs.jsonl"}, 12, "cpu"
	plan := func() *job.Plan {
		p, err := job.PlanDPO(context.Background(), &o)
		require.NoError(t, err)
		return p
	}
	phase := func(p *job.Plan, name string) *job.PlanPhase {
		for i := range p.Phases {
			if p.Phases[i].Phase == name {
				return &p.Phases[i]
			}
		}
		return nil
	}
	whole := plan()
	weights := whole.Roles[0].Weights
	assert.Equal(t, 4*whole.Roles[0].Parameters, weights)
	assert.Contains(t, whole.Rows, "rows of up to 64 tokens")
	assert.Equal(t, weights, phase(whole, "reference").Resident, "no optimizer yet")
	assert.Greater(t, phase(whole, "reference").Total, whole.Process+2*weights, "the policy and the reference")
	assert.Less(t, phase(whole, "reference").Total, whole.Process+4*weights, "whose two members are streamed")
	assert.Equal(t, 3*weights, phase(whole, "learn").Resident, "weights and moments: the reference is gone")

	o.LoRARank = 4
	adapted := plan()
	r := adapted.Roles[0]
	perLayer := int64(4 * (4*(256+256) + 3*(256+1024)))
	assert.Equal(t, weights+4*6*perLayer, r.Weights)
	assert.Equal(t, 8*6*perLayer, r.Moments, "adapters alone have an optimizer")
	assert.Less(t, adapted.Peak, whole.Peak)

	o.LoRATargets = []string{"q_proj", "v_proj"}
	assert.Equal(t, int64(8*6*4*2*(256+256)), plan().Roles[0].Moments)

	o = job.DefaultDPO()
	o.Model, o.Loss, o.Device = dir+"/lm", "simpo", "cpu"
	assert.Nil(t, phase(plan(), "reference"), "simpo compares with none")
}
