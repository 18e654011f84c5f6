"""Decision flows: the draft as JSON, publishing, and the published versions."""

from django import forms
from django.contrib import admin, messages
from django.http import HttpResponseRedirect
from unfold.admin import TabularInline
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextInputWidget

from campaigns.admin.configuration import ConfigurationAdmin, preformatted
from campaigns.models import Flow, FlowVersion
from campaigns.services.flows import create_flow, publish_flow, save_draft
from kaireon.access.admin.form import ScopedForm
from kaireon.access.admin.scoped import ReadOnly, become, faults_of


class FlowForm(ScopedForm):
    def add_refusal(self, path: str, text: str) -> None:
        """Every path that is not a field's leads into the definition."""
        path = path.removeprefix("draftConfig.")
        if path in self.fields:
            self.add_error(path, text)
        else:
            self.add_error("draft_config", f"{path}: {text}" if path else text)


class PublishForm(forms.Form):
    notes = forms.CharField(
        required=False, max_length=2000, help_text="What is new.", widget=UnfoldAdminTextInputWidget
    )


class VersionInline(ReadOnly, TabularInline):
    model = FlowVersion
    verbose_name_plural = "published versions"
    fields = ("version", "published_at", "notes", "definition")
    readonly_fields = fields
    ordering = ("-version",)
    extra = 0
    per_page = 20
    hide_title = True

    def has_view_permission(self, request, obj=None):
        return True  # whoever sees the flow

    @display(description="definition")
    def definition(self, version: FlowVersion) -> str:
        return preformatted(version.config, "show")


@admin.register(Flow)
class FlowAdmin(ConfigurationAdmin):
    form = FlowForm
    list_display = ("name", "key", "status_label", "is_default", "updated_at")
    list_filter = ("status",)
    search_fields = ("name", "key")
    fieldsets = (
        (None, {"fields": ("key", "name", "description")}),
        ("Draft", {"fields": ("draft_config",)}),
    )
    facts = ("api_id", "status", "is_default", "version", "created_at", "updated_at")
    json_rows = 24
    inlines = (VersionInline,)
    actions_row = ("publish",)
    actions_detail = ("publish",)

    def get_inlines(self, request, obj):
        return self.inlines if obj else ()

    def get_readonly_fields(self, request, obj=None):
        fields = super().get_readonly_fields(request, obj)
        return fields if obj is None else (*fields, "key")

    def save_model(self, request, obj, form, change):
        cleaned = form.cleaned_data
        if not change:
            flow = create_flow(
                obj.tenant,
                key=cleaned["key"],
                name=cleaned["name"],
                description=cleaned["description"],
                config=cleaned["draft_config"],
            )
            become(obj, flow)
            return
        obj.save(update_fields=["name", "description", "updated_at"])
        if "draft_config" in form.changed_data:
            save_draft(obj, cleaned["draft_config"])

    @action(description="Publish", icon="publish", permissions=["change"])
    def publish(self, request, object_id):
        flow = self.find(request, object_id, "change")
        form, faults = PublishForm(request.POST or None), []
        if request.method == "POST" and form.is_valid():
            try:
                version = publish_flow(flow, notes=form.cleaned_data["notes"])
            except self.refusals as error:
                faults = [f"{path}: {text}" if path else text for path, text in faults_of(error)]
            else:
                self.log_change(request, flow, f"Published version {version.version}.")
                messages.success(request, f"Version {version.version} is published.")
                return HttpResponseRedirect(self.page_of(flow.pk))
        newest = flow.versions.order_by("-version").first()
        return self.confirm(
            request,
            flow,
            title="Publish flow",
            question=f'Publish the draft of "{flow}"? Every run from now on will use it.',
            lines=[("Published now", f"version {newest.version}" if newest else "nothing yet")],
            form=form,
            faults=faults,
            button="Publish",
        )
