"""What is stored, one concept per module."""

from campaigns.models.algorithm_model import AlgorithmModel
from campaigns.models.campaign import Campaign
from campaigns.models.channel import Channel, Placement
from campaigns.models.contact import Contact, ContactHold
from campaigns.models.creative import Creative
from campaigns.models.dead_letter import DeadLetter
from campaigns.models.delivery_error import DeliveryError
from campaigns.models.flow import Flow, FlowVersion
from campaigns.models.idempotent_request import IdempotentRequest
from campaigns.models.interaction import Interaction
from campaigns.models.offer import Category, Offer, SubCategory
from campaigns.models.policy import ContactPolicy
from campaigns.models.ranking_profile import RankingProfile
from campaigns.models.recommendation import HeldOut, Recommendation
from campaigns.models.rule import QualificationRule
from campaigns.models.run import CampaignRun, RunChunk, RunEvent, RunFile
from campaigns.models.schema import Schema
from campaigns.models.schema_join import SchemaJoin
from campaigns.models.segment import Segment
from campaigns.models.status import Status
from campaigns.models.tick import Tick
from campaigns.models.volume_constraint import VolumeConstraint
from campaigns.models.worker import Worker

__all__ = [
    "AlgorithmModel",
    "Campaign",
    "CampaignRun",
    "Category",
    "Channel",
    "Contact",
    "ContactHold",
    "ContactPolicy",
    "Creative",
    "DeadLetter",
    "DeliveryError",
    "Flow",
    "FlowVersion",
    "HeldOut",
    "IdempotentRequest",
    "Interaction",
    "Offer",
    "Placement",
    "QualificationRule",
    "RankingProfile",
    "Recommendation",
    "RunChunk",
    "RunEvent",
    "RunFile",
    "Schema",
    "SchemaJoin",
    "Segment",
    "Status",
    "SubCategory",
    "Tick",
    "VolumeConstraint",
    "Worker",
]
