"""Tables Django cannot partition by itself, and the PostgreSQL schemas of customers and segments."""

from django.db import migrations, models

SCHEMAS = """
CREATE SCHEMA IF NOT EXISTS data;
CREATE SCHEMA IF NOT EXISTS segments;
"""

RECOMMENDATION = """
CREATE TABLE campaigns_recommendation (
    run_id bigint NOT NULL,
    offer_id bigint NOT NULL,
    channel_id bigint NOT NULL,
    creative_id bigint,
    score double precision NOT NULL,
    chunk integer NOT NULL,
    rank smallint NOT NULL,
    customer_key text COLLATE "C" NOT NULL,
    CONSTRAINT recommendation_once PRIMARY KEY (run_id, customer_key, rank)
) PARTITION BY LIST (run_id);
"""

CONTACT = """
CREATE TABLE campaigns_contact (
    at timestamptz NOT NULL,
    tenant_id bigint NOT NULL,
    campaign_id bigint NOT NULL,
    run_id bigint NOT NULL,
    offer_id bigint NOT NULL,
    channel_id bigint NOT NULL,
    creative_id bigint,
    customer_key text COLLATE "C" NOT NULL
) PARTITION BY RANGE (at);
-- A run adds its contacts in key order, so block ranges hold narrow key ranges: see docs/adr/0006.
CREATE INDEX contact_customer ON campaigns_contact USING brin (tenant_id, customer_key, at)
    WITH (pages_per_range = 32, autosummarize = on);
"""

INTERACTION = """
CREATE TABLE campaigns_interaction (
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    tenant_id bigint NOT NULL,
    offer_id bigint NOT NULL,
    channel_id bigint,
    creative_id bigint,
    campaign_id bigint,
    direction varchar(8) NOT NULL,
    interaction_type varchar(50) NOT NULL,
    outcome varchar(50) NOT NULL,
    customer_key text COLLATE "C" NOT NULL,
    context jsonb NOT NULL,
    CONSTRAINT interaction_direction_known CHECK (direction IN ('inbound', 'outbound')),
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
CREATE INDEX interaction_customer ON campaigns_interaction (tenant_id, customer_key, at);
"""


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0001_initial")]

    operations = [
        migrations.RunSQL(SCHEMAS, "DROP SCHEMA segments CASCADE; DROP SCHEMA data CASCADE;"),
        migrations.RunSQL(
            RECOMMENDATION,
            "DROP TABLE campaigns_recommendation",
            state_operations=[
                migrations.CreateModel(
                    name='Recommendation',
                    fields=[
                        ('pk', models.CompositePrimaryKey('run_id', 'customer_key', 'rank', blank=True, editable=False, primary_key=True, serialize=False)),
                        ('run_id', models.BigIntegerField()),
                        ('customer_key', models.TextField(db_collation='C')),
                        ('rank', models.SmallIntegerField()),
                        ('chunk', models.IntegerField()),
                        ('offer_id', models.BigIntegerField()),
                        ('channel_id', models.BigIntegerField()),
                        ('creative_id', models.BigIntegerField(null=True)),
                        ('score', models.FloatField()),
                    ],
                    options={
                        'ordering': ('customer_key', 'rank'),
                        'managed': True,
                    },
                ),
            ],
        ),
        migrations.RunSQL(
            CONTACT,
            "DROP TABLE campaigns_contact",
            state_operations=[
                migrations.CreateModel(
                    name='Contact',
                    fields=[
                        ('pk', models.CompositePrimaryKey('at', 'run_id', 'customer_key', 'offer_id', 'channel_id', blank=True, editable=False, primary_key=True, serialize=False)),
                        ('tenant_id', models.BigIntegerField()),
                        ('customer_key', models.TextField(db_collation='C')),
                        ('at', models.DateTimeField()),
                        ('offer_id', models.BigIntegerField()),
                        ('channel_id', models.BigIntegerField()),
                        ('creative_id', models.BigIntegerField(null=True)),
                        ('campaign_id', models.BigIntegerField()),
                        ('run_id', models.BigIntegerField()),
                    ],
                    options={
                        'ordering': ('at', 'customer_key'),
                    },
                ),
            ],
        ),
        migrations.RunSQL(
            INTERACTION,
            "DROP TABLE campaigns_interaction",
            state_operations=[
                migrations.CreateModel(
                    name='Interaction',
                    fields=[
                        ('pk', models.CompositePrimaryKey('at', 'id', blank=True, editable=False, primary_key=True, serialize=False)),
                        ('id', models.BigIntegerField(editable=False)),
                        ('tenant_id', models.BigIntegerField()),
                        ('customer_key', models.TextField(db_collation='C')),
                        ('at', models.DateTimeField()),
                        ('interaction_type', models.CharField(max_length=50)),
                        ('outcome', models.CharField(blank=True, max_length=50)),
                        ('direction', models.CharField(choices=[('inbound', 'Inbound'), ('outbound', 'Outbound')], max_length=8)),
                        ('offer_id', models.BigIntegerField()),
                        ('channel_id', models.BigIntegerField(null=True)),
                        ('creative_id', models.BigIntegerField(null=True)),
                        ('campaign_id', models.BigIntegerField(null=True)),
                        ('context', models.JSONField(default=dict)),
                    ],
                    options={
                        'ordering': ('at', 'id'),
                    },
                ),
            ],
        ),
    ]
